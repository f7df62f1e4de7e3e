//! The parts of a deployment as processes on this machine: their folders below one of the test's, their ports free ones, broker and
//! database the test's. All else is what the file says.

use crate::deploy::parts::Part;
use crate::place::{Place, free};
use crate::world::{self, signal};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ports that the files name.
const PORTS: [u16; 6] = [8080, 8081, 9000, 9001, 9002, 9100];

/// The parts, started.
pub struct Deployment {
    dir: tempfile::TempDir,
    started: Vec<Started>,
    more: BTreeMap<String, String>,
}
struct Started {
    part: Part,
    folders: Vec<(String, PathBuf)>,
    ports: BTreeMap<u16, SocketAddr>,
    child: Option<Child>,
}

impl Deployment {
    /// Starts them all, on a broker and a database of their own if they ask for one.
    pub fn start(parts: Vec<Part>) -> Deployment {
        let dir = tempfile::tempdir().unwrap();
        let mut more = BTreeMap::new();
        if parts.iter().any(|part| part.args.first().is_some_and(|arg| arg == "gateway")) {
            let prefix = format!("{}.", dir.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.'));
            let all = [
                ("LOG__BROKERS", world::address().to_owned()),
                ("LOG__KAFKA__PREFIX", prefix.clone()),
                ("LOG__KAFKA__GROUP", prefix),
                ("STORE__URL", Place::new().url()),
            ];
            more.extend(all.map(|(key, value)| (format!("PULSE__{key}"), value)));
        }
        let hosts: Vec<SocketAddr> = parts.iter().map(|_| free()).collect();
        let mut deployment = Deployment { dir, started: Vec::new(), more };
        for part in parts {
            deployment.add(part, &hosts);
        }
        for i in 0..deployment.started.len() {
            let args = deployment.started[i].part.args.clone();
            let child = deployment.command(i, &args).spawn().unwrap();
            deployment.started[i].child = Some(child);
        }
        deployment
    }

    /// Folders and files of a part.
    fn add(&mut self, part: Part, hosts: &[SocketAddr]) {
        let root = self.dir.path();
        let own = root.join(&part.name);
        let mut folders: Vec<(String, PathBuf)> = Vec::new();
        for (path, shared) in &part.mounts {
            let name = path.replace('/', "_");
            folders.push((
                path.clone(),
                shared.as_ref().map_or_else(|| own.join(name), |shared| root.join("shared").join(shared)),
            ));
        }
        for path in part.files.keys() {
            let folder = Path::new(path).parent().unwrap().to_str().unwrap();
            if !folders.iter().any(|(known, _)| known == folder) {
                folders.push((folder.into(), own.join(folder.replace('/', "_"))));
            }
        }
        folders.sort_by_key(|(path, _)| std::cmp::Reverse(path.len())); // the inner ones first
        let ports = PORTS.map(|port| (port, free())).into();
        let started = Started { part, folders, ports, child: None };
        for (_, folder) in &started.folders {
            std::fs::create_dir_all(folder).unwrap();
        }
        for (path, text) in &started.part.files {
            let text = match path.ends_with("hosts.txt") {
                true => {
                    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
                    lines.zip(hosts).map(|(_, host)| format!("{host}\n")).collect()
                }
                false => started.here(text),
            };
            std::fs::write(started.here(path), text).unwrap();
        }
        self.started.push(started);
    }

    /// `pulse` with these words, as part `i` would run it.
    fn command(&self, i: usize, args: &[String]) -> Command {
        let started = &self.started[i];
        let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
        command.args(args.iter().map(|arg| started.here(arg)));
        command.envs(started.part.env.iter().map(|(key, value)| (key, started.here(value)))).envs(&self.more);
        let said = self.dir.path().join("said");
        let said = std::fs::File::options().create(true).append(true).open(said).unwrap();
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        command
    }
    fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("said")).unwrap_or_default()
    }
    /// The part that listens there.
    fn with(&self, verb: &str) -> usize {
        let is = |s: &Started| s.part.args.first().is_some_and(|arg| arg == verb || arg == "run");
        self.started.iter().position(is).unwrap()
    }

    /// What a part prints, for people who sit beside it.
    pub fn output(&self, verb: &str, words: &str) -> String {
        let args: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let output = self.command(self.with(verb), &args).stdout(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "pulse {words}: {}", self.said());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Asks until it is answered with 200.
    pub fn ask(&mut self, verb: &str, port: u16, path: &str, key: &str, body: Option<&str>) -> Value {
        self.ask_part(self.with(verb), port, path, key, body)
    }
    fn ask_part(&mut self, i: usize, port: u16, path: &str, key: &str, body: Option<&str>) -> Value {
        let url = format!("http://{}{path}", self.started[i].ports[&port]);
        let begun = Instant::now();
        loop {
            let mut curl = Command::new("curl");
            curl.args(["-sf", "-m", "10", "-H", &format!("authorization: Bearer {key}"), &url]);
            if let Some(body) = body {
                curl.args(["-H", "content-type: application/json", "-d", body]);
            }
            let output = curl.output().unwrap();
            if output.status.success() {
                return serde_json::from_slice(&output.stdout).unwrap_or_default();
            }
            assert!(begun.elapsed().as_secs() < 90, "{}: {url}: {}", self.started[i].part.name, self.said());
            self.restart();
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Starts again what has ended, as every service manager is told to: who looks for topics that the workers have not made yet
    /// ends with 69.
    fn restart(&mut self) {
        for i in 0..self.started.len() {
            if let Some(status) = self.started[i].child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                assert_eq!(status.code(), Some(69), "{}: {}", self.started[i].part.name, self.said());
                self.started[i].child = Some(self.command(i, &self.started[i].part.args.clone()).spawn().unwrap());
            }
        }
    }

    /// Every probe is answered well.
    pub fn probes(&mut self) {
        for i in 0..self.started.len() {
            for (port, path) in self.started[i].part.probes.clone() {
                self.ask_part(i, port, &path, "", None);
            }
        }
    }

    /// Stops them as a service manager does; all leave in order.
    pub fn stop(&mut self) {
        for started in &self.started {
            signal("-TERM", started.child.as_ref().unwrap().id());
        }
        let begun = Instant::now();
        for i in 0..self.started.len() {
            let mut child = self.started[i].child.take().unwrap();
            loop {
                if let Some(status) = child.try_wait().unwrap() {
                    assert!(status.success(), "{}: {status}: {}", self.started[i].part.name, self.said());
                    break;
                }
                assert!(begun.elapsed().as_secs() < 60, "{} does not stop: {}", self.started[i].part.name, self.said());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

impl Started {
    /// A text with the places and ports of this machine.
    fn here(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (path, folder) in &self.folders {
            text = text.replace(path, folder.to_str().unwrap());
        }
        for (port, address) in &self.ports {
            for host in ["0.0.0.0", "127.0.0.1"] {
                text = text.replace(&format!("{host}:{port}"), &address.to_string());
            }
        }
        text
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        for child in self.started.iter_mut().filter_map(|started| started.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
