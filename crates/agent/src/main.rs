//! `/init` of a guest.

fn main() {
    pyro_agent::run();
}
