//! Builds the guest agent as a static program and hands it to this crate, so that plain `cargo build`
//! gives a whole pyro. The agent has its own profile and target features, hence its own target directory.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let workspace = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    for input in ["crates/agent", "crates/channel", "crates/proto", "Cargo.lock", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", workspace.join(input).display());
    }
    // OUT_DIR is TARGET/PROFILE/build/NAME/out: all profiles share one agent.
    let shared = out.ancestors().nth(4).ok_or("OUT_DIR is too short")?.join("guest");
    let built = build(&workspace, &shared)?;
    let agent = fs::read(&built)?;
    fs::write(out.join("agent"), &agent)?;
    let digest: String = Sha256::digest(&agent).iter().map(|byte| format!("{byte:02x}")).collect();
    println!("cargo::rustc-env=PYRO_AGENT_SHA256={digest}");
    Ok(())
}

fn build(workspace: &Path, target_directory: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let mut cargo = Command::new(env::var_os("CARGO").ok_or("CARGO is not set")?);
    cargo
        .args(["build", "--locked", "--package", "pyro-agent", "--bin", "pyro-agent"])
        .args(["--profile", "agent", "--target", TARGET, "--target-dir"])
        .arg(target_directory)
        .current_dir(workspace)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    // What the outer build was told is not meant for this one: wrappers of clippy, flags of coverage.
    for name in
        ["RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER", "RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET"]
    {
        cargo.env_remove(name);
    }
    let status = cargo.status()?;
    if !status.success() {
        return Err(format!("building the guest agent failed: {status}").into());
    }
    Ok(target_directory.join(TARGET).join("agent").join("pyro-agent"))
}
