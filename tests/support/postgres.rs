//! A PostgreSQL server of the test's own, on a socket in a directory that goes away with it,
//! and a fresh database for each test.
//!
//! It is Debian's package, without its cluster. Where it is missing the test is left out.
//! The server asks the operating system for no durability: nothing cuts its power here.

use super::DEADLINE;
use super::program::eventually;
use super::tools::leave_out;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Works as a server until its input ends, however that comes.
const GUARD: &str = r#""$@" & server=$!; read -r _; kill -QUIT "$server"; wait "$server""#;

/// A server; stopped when the last of its databases is dropped.
pub struct Server {
    directory: TempDir,
    programs: PathBuf,
    /// While it runs.
    guard: Mutex<Option<Child>>,
    databases: AtomicU32,
}

/// An empty database.
pub struct Database {
    /// The server that it is on.
    pub server: Arc<Server>,
    name: String,
}

/// A way to a server that may fall silent: from then on it takes connections, and nobody hears
/// anything on any.
pub struct Way {
    port: u16,
    silent: watch::Sender<bool>,
    _connections: JoinSet<()>,
}

impl Way {
    /// One to this server.
    pub async fn to(server: &Server) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, socket) = (listener.local_addr().unwrap().port(), server.socket());
        let (silent, falls_silent) = watch::channel(false);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let (socket, mut silent) = (socket.clone(), falls_silent.clone());
                connections.spawn(async move {
                    let mut far = UnixStream::connect(socket).await.unwrap();
                    let falls_silent = async { silent.wait_for(|silent| *silent).await.map(drop) };
                    tokio::select! {
                        biased;
                        _ = falls_silent => {}
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                    }
                    std::future::pending::<()>().await;
                });
            }
        });
        Way { port, silent, _connections: connections }
    }

    /// Says nothing more.
    pub fn fall_silent(&self) {
        self.silent.send_replace(true);
    }
}

/// A database on the server that the tests of this process share.
pub fn database() -> Option<Database> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap();
    let server = match shared.upgrade() {
        Some(server) => server,
        None => Arc::new(Server::start()?),
    };
    *shared = Arc::downgrade(&server);
    drop(shared);
    Some(Database::on(&server))
}

impl Database {
    /// A database on this server.
    pub fn on(server: &Arc<Server>) -> Database {
        let name = format!("test_{}", server.databases.fetch_add(1, Ordering::Relaxed));
        server.psql("postgres", &format!("CREATE DATABASE {name}"));
        Database { server: Arc::clone(server), name }
    }

    /// Where it is, as a spool is told.
    pub fn url(&self) -> String {
        self.url_on(&[&self.server])
    }

    /// The same of its copies.
    pub fn url_on(&self, servers: &[&Server]) -> String {
        let hosts: Vec<_> = servers.iter().map(|it| it.directory.path().display().to_string()).collect();
        format!("host={} user=postgres dbname={}", hosts.join(","), self.name)
    }

    /// The same behind a way to it, which is tried first.
    pub fn url_behind(&self, way: &Way) -> String {
        let place = self.server.directory.path().display();
        format!("host=127.0.0.1,{place} port={},5432 user=postgres dbname={}", way.port, self.name)
    }

    /// What a statement says in it, one row a line.
    pub fn psql(&self, statement: &str) -> String {
        self.psql_on(&self.server, statement)
    }

    /// The same in a copy of it.
    pub fn psql_on(&self, server: &Server, statement: &str) -> String {
        server.psql(&self.name, statement)
    }
}

impl Server {
    /// Starts one; nothing where there is none to start.
    pub fn start() -> Option<Server> {
        let Some(programs) = programs() else {
            leave_out("PostgreSQL is missing");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        copy(&template(&programs), &directory.path().join("data"));
        Some(Server::of(directory, programs))
    }

    /// One that follows this one, and may take its place.
    pub fn standby(&self) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let mut backup = unprivileged(self.programs.join("pg_basebackup"));
        backup.args(["--checkpoint=fast", "--no-sync", "-R", "-U", "postgres", "-h"]);
        let made = backup.arg(self.directory.path()).arg("-D").arg(directory.path().join("data")).output();
        let made = made.unwrap();
        assert!(made.status.success(), "{made:?}");
        Server::of(directory, self.programs.clone())
    }

    fn of(directory: TempDir, programs: PathBuf) -> Server {
        let server = Server { directory, programs, guard: Mutex::default(), databases: AtomicU32::new(0) };
        server.begin();
        server
    }

    /// Starts it where it stopped.
    pub fn begin(&self) {
        let place = self.directory.path();
        let log = File::options().create(true).append(true).open(place.join("log")).unwrap();
        let mut guard = unprivileged("sh");
        guard.args(["-c", GUARD, "sh"]).arg(self.programs.join("postgres"));
        guard.arg("-D").arg(place.join("data")).arg("-k").arg(place);
        for setting in ["listen_addresses=", "fsync=off", "max_connections=60", "shared_buffers=16MB"] {
            guard.args(["-c", setting]);
        }
        let guard = guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        *self.guard.lock().unwrap() = Some(guard);
        eventually("a server that answers", DEADLINE, || {
            self.run("postgres", "SELECT 1").status.success().then_some(())
        });
    }

    /// Stops it at once, as if it had crashed.
    pub fn end(&self) {
        let guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut guard) = guard {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
    }

    /// What a statement says in a database.
    pub fn psql(&self, database: &str, statement: &str) -> String {
        let output = self.run(database, statement);
        assert!(output.status.success(), "{statement}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join(".s.PGSQL.5432")
    }

    fn run(&self, database: &str, statement: &str) -> Output {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-U", "postgres", "-d", database, "-c", statement, "-h"]);
        psql.arg(self.directory.path()).env_clear().output().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where the programs of the newest server are.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.map(|entry| entry.unwrap().path().join("bin"));
    let number = |path: &PathBuf| path.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    versions.filter(|programs| programs.join("postgres").exists()).max_by_key(number)
}

/// A server's files before its first start: made once, and copied for each.
fn template(programs: &Path) -> PathBuf {
    let version = programs.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let template = place.join(format!("postgres-{version}"));
    let lock = File::create(place.join("postgres.lock")).unwrap();
    lock.lock().unwrap();
    if !template.exists() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let mut initdb = unprivileged(programs.join("initdb"));
        initdb.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]);
        let made = initdb.args(["--no-sync", "--wal-segsize=1"]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let fresh = place.join("postgres.new");
        let _ = fs::remove_dir_all(&fresh);
        copy(&data, &fresh);
        fs::rename(fresh, &template).unwrap();
    }
    template
}

/// A server does not run as root: where the tests do, it believes to be another user, and what
/// is root's is that user's.
fn unprivileged(program: impl AsRef<Path>) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        let number = |option: &str| {
            let told = Command::new("id").args([option, "postgres"]).output().unwrap();
            String::from_utf8(told.stdout).unwrap().trim().to_owned()
        };
        let (user, group) = (number("-u"), number("-g"));
        let mut command = Command::new("unshare");
        command.args(["--user", &format!("--map-user={user}"), &format!("--map-group={group}"), "--"]);
        command.arg(program.as_ref());
        command
    } else {
        Command::new(program.as_ref())
    };
    // Programs of the server want to know where they are.
    command.current_dir("/");
    command
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}
