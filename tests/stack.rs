//! A real stack in one workspace: PostgreSQL from Debian and a web server in Python that keeps notes in it.

use std::collections::BTreeSet;

use crate::support::{Machine, Workspace};

/// The web server: `POST /notes` adds one, `GET /notes` lists them, `GET /health` asks the database.
const APP: &str = r#"
import http.server, os, psycopg2, sys

def query(text, *values):
    with psycopg2.connect(os.environ["DATABASE_URL"]) as connection, connection.cursor() as cursor:
        cursor.execute(text, values)
        return cursor.fetchall() if cursor.description else []

class Notes(http.server.BaseHTTPRequestHandler):
    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, f"{query('SELECT 42')[0][0]}\n")
        self.answer(200, "".join(note + "\n" for (note,) in query("SELECT text FROM notes ORDER BY id")))

    def do_POST(self):
        note = self.rfile.read(int(self.headers["Content-Length"])).decode()
        query("INSERT INTO notes (text) VALUES (%s)", note)
        self.answer(201, "kept\n")

query("CREATE TABLE IF NOT EXISTS notes (id serial PRIMARY KEY, text text NOT NULL)")
print("serving", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Notes).serve_forever()
"#;

/// Debian's own cluster, as its service manager starts it; `/run` of a fresh boot has no directory for its socket.
const DATABASE: [&str; 8] = [
    "/usr/lib/postgresql/15/bin/postgres",
    "-D",
    "/var/lib/postgresql/15/main",
    "-c",
    "config_file=/etc/postgresql/15/main/postgresql.conf",
    "-k",
    "/tmp",
    "-p5432",
];

/// A workspace with both services, and one note.
fn stack(machine: &Machine) -> Workspace<'_> {
    let workspace = machine.workspace(&["--name", "stack"]);
    workspace.call("file write", ["app.py", "--text", APP]).finish().exits(0);
    let fixed = ["--restart", "always", "--ready-timeout-seconds", "120"];
    let options = [&fixed[..], &["--user", "postgres", "--ready-tcp", "127.0.0.1:5432"]].concat();
    let told = workspace.start("db", &options, &DATABASE).finish();
    told.exits(0).explains(&["state=running", "ready_type=tcp"]);
    // A connection is taken before recovery is over: then it is said so, and asked again.
    let sql = "ALTER USER postgres PASSWORD 'secret'";
    let options = ["--user", "postgres", "--timeout-seconds", "120", "--"];
    let password = format!("until pg_isready -qh /tmp; do sleep 0.1; done; psql -qh /tmp -c \"{sql}\"");
    workspace.call("exec", options.iter().chain(&["sh", "-c", &password])).finish().exits(0);
    let url = "DATABASE_URL=postgresql://postgres:secret@127.0.0.1/postgres";
    let options = [&fixed[..], &["--env", url, "--ready-http", "http://127.0.0.1:8000/health"]].concat();
    workspace.start("web", &options, &["python3", "app.py"]).finish().exits(0).explains(&["ready_type=http"]);
    add(&workspace, "first");
    workspace
}

fn add(workspace: &Workspace<'_>, note: &str) {
    let told = workspace.exec(["curl", "-sS", "-d", note, "http://127.0.0.1:8000/notes"]).finish();
    told.exits(0).says("kept\n");
}

fn notes(workspace: &Workspace<'_>) -> String {
    workspace.exec(["curl", "-sS", "http://127.0.0.1:8000/notes"]).finish().exits(0).out()
}

fn assert_runs(workspace: &Workspace<'_>) {
    let services = workspace.services();
    let running = services.iter().filter(|service| service["state"] == "running");
    let names: BTreeSet<&str> = running.map(|service| service["service_name"].as_str().unwrap()).collect();
    assert_eq!((names, services.len()), (BTreeSet::from(["db", "web"]), 2), "{services:?}");
}

#[test]
fn a_database_and_a_web_server_survive_a_restart() {
    // Promise: both are ready when `start` says so, answer, come back with their data after stop and start, and are gone
    // after a reset.
    let machine = Machine::with_programs();
    let workspace = stack(&machine);
    assert_eq!(notes(&workspace), "first\n");
    add(&workspace, "second");
    assert_runs(&workspace);
    let log = workspace.service_log("web");
    assert!(log.contains(&("stdout".to_owned(), "serving".to_owned())), "{log:?}");
    assert!(
        log.iter().any(|(stream, text)| stream == "stderr" && text.contains("\"GET /health HTTP/1.1\" 200"))
    );
    let log = workspace.service_log("db");
    assert!(
        log.iter().any(|(_, text)| text.contains("database system is ready to accept connections")),
        "{log:?}"
    );
    workspace.call("stop", [""; 0]).finish().exits(0);
    let log = workspace.service_log("db");
    assert!(log.last().unwrap().1.contains("database system is shut down"), "it was told to end: {log:?}");
    workspace.call("start", [""; 0]).finish().exits(0);
    assert_runs(&workspace);
    assert_eq!(notes(&workspace), "first\nsecond\n");
    let log = workspace.service_log("db");
    assert!(!log.iter().any(|(_, text)| text.contains("not properly shut down")), "{log:?}");
    workspace.reset(&[]);
    assert!(workspace.services().is_empty());
    workspace.exec(["curl", "-sS", "http://127.0.0.1:8000/notes"]).finish().exits(7);
    assert!(!workspace.runs("/usr/lib/postgresql/15/bin/postgres -D .*") && workspace.shell("ls").is_empty());
}

#[test]
fn a_stack_is_copied_while_it_runs() {
    // Promise: a live fork takes services and shells along, each copy with its own data from there on; so does a pause;
    // each copy's services are still its supervisor's.
    let machine = Machine::alone_with_programs();
    let source = stack(&machine);
    let shell = source
        .open(&[], &["sh", "-c", "stty -echo; n=0; while read line; do n=$((n+1)); echo $n $line; done"]);
    shell.write("at the source");
    shell.wait_for("^1 at the source$");
    source.call("fork", ["--count", "2", "--name", "copy"]).finish().exits(0);
    let copies = [machine.adopt("copy-1"), machine.adopt("copy-2")];
    for (workspace, note) in [(&source, "source"), (&copies[0], "one"), (&copies[1], "two")] {
        assert_runs(workspace);
        add(workspace, note);
        assert_eq!(notes(workspace), format!("first\n{note}\n"));
        let there = workspace.shell_of(&shell.id);
        assert_eq!(there.state(), "running");
        there.write(note);
        there.wait_for(&format!("^2 {note}$"));
    }
    let copy = &copies[0];
    copy.call("pause", [""; 0]).finish().exits(0);
    assert_eq!(copy.state(), "paused");
    let told = copy.call("service logs", ["web"]).finish();
    told.exits(0).explains(&["\"POST /notes HTTP/1.1\" 201"]);
    assert_eq!(copy.state(), "paused", "reading wakes nobody");
    copy.call("resume", [""; 0]).finish().exits(0);
    assert_runs(copy);
    add(copy, "after the pause");
    assert_eq!(notes(copy), "first\none\nafter the pause\n");
    let there = copy.shell_of(&shell.id);
    there.write("after the pause");
    there.wait_for("^3 after the pause$");
    // The supervisor of a copy supervises: what dies is started again, what is stopped stays so, with its log.
    let lines = copy.service_log("web").len();
    copy.shell("pkill -9 -fx 'python3 app.py'");
    let again = || copy.exec(["curl", "-sS", "http://127.0.0.1:8000/health"]).finish().status.success();
    crate::support::wait_until("the web server is back", || {
        copy.service_state("web") == "running" && again()
    });
    assert_eq!(copy.service("web")["restarts"], 1);
    assert!(copy.service_log("web").len() > lines);
    copy.call("service stop", ["db"]).finish().exits(0);
    assert!(!copy.runs("/usr/lib/postgresql/15/bin/postgres -D .*"));
    let others: BTreeSet<String> = [&source, &copies[1]].map(|other| other.service_state("db")).into();
    assert_eq!(others, BTreeSet::from(["running".to_owned()]), "each has its own");
}
