//! What the files of `deploy/` start: each service of a compose file, container of a rendered chart and unit of systemd as a [`Part`].
//!
//! Deliberately absent: starting them (`start`).

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Kubernetes whose schemas the chart is checked by.
const KUBERNETES: &str = "1.37";

/// A process, as a file of `deploy/` says it.
#[derive(Clone, Debug, Default)]
pub struct Part {
    pub name: String,
    /// Behind `pulse`.
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// Folders, and the name that those have who share one.
    pub mounts: BTreeMap<String, Option<String>>,
    /// Files by their path.
    pub files: BTreeMap<String, String>,
    /// Where somebody asks whether it lives: port and path.
    pub probes: Vec<(u16, String)>,
}

pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}
pub fn text(file: &str) -> String {
    std::fs::read_to_string(deploy().join(file)).unwrap()
}
fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools")
}

/// Runs what `tests/run.sh` installs; what it prints, or what it says is wrong.
pub fn run(command: &mut Command, input: &str) -> Result<String, String> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|e| panic!("{command:?}: {e}; run tests/run.sh, which installs it"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if output.status.success() { Ok(out) } else { Err(out + &err) }
}
fn read(words: &[&str], input: &str) -> Result<Value, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy/read.py");
    let mut command = Command::new(tools().join("venv/bin/python"));
    let out = run(command.arg(script).args(words).env("PULSE_DB_PASSWORD", "secret"), input)?;
    Ok(serde_json::from_str(&out).unwrap())
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|v| v.as_str().unwrap().to_owned()).collect()
}

/// A compose file that fits its schema.
pub fn compose_file(path: &Path) -> Result<Value, String> {
    read(&["compose", path.to_str().unwrap()], "")
}

/// The services of a compose file that are ours.
pub fn compose(file: &str) -> Vec<Part> {
    let path = deploy().join("compose").join(file);
    let document = compose_file(&path).unwrap();
    let services = document["services"].as_object().unwrap().iter();
    let ours = services.filter(|(_, service)| service["image"] == "pulse-ecom");
    ours.map(|(name, service)| service_part(name, service, &document, path.parent().unwrap())).collect()
}

fn service_part(name: &str, service: &Value, document: &Value, folder: &Path) -> Part {
    let mut part = Part { name: name.into(), args: strings(&service["command"]), ..Part::default() };
    for (key, value) in service["environment"].as_object().into_iter().flatten() {
        part.env.insert(key.clone(), value.as_str().unwrap().into());
    }
    for volume in strings(&service["volumes"]) {
        let (shared, path) = volume.split_once(':').unwrap();
        part.mounts.insert(path.into(), Some(shared.into()));
    }
    part.mounts.entry("/var/lib/pulse".into()).or_default(); // the image says that it is a volume
    for config in service["configs"].as_array().into_iter().flatten() {
        let target = config["target"].as_str().unwrap();
        let source = document["configs"][config["source"].as_str().unwrap()]["file"].as_str().unwrap();
        part.files.insert(target.into(), std::fs::read_to_string(folder.join(source)).unwrap());
    }
    for secret in strings(&service["secrets"]) {
        assert!(document["secrets"][&secret]["file"].is_string());
        part.files.insert(format!("/run/secrets/{secret}"), "a secret of the tests\n".into());
    }
    for url in strings(&service["healthcheck"]["test"]).iter().filter_map(|word| word.strip_prefix("http://127.0.0.1:"))
    {
        let (port, path) = url.split_once('/').unwrap();
        part.probes.push((port.parse().unwrap(), format!("/{path}")));
    }
    part
}

/// The chart with these settings, every document fitting its schema.
pub fn rendered(settings: &[&str]) -> Result<Vec<Value>, String> {
    let mut command = Command::new(tools().join("helm"));
    let out = run(command.args(["template", "shop"]).arg(deploy().join("helm/pulse")).args(settings), "")?;
    Ok(read(&["kube", KUBERNETES], &out)?.as_array().unwrap().clone())
}

/// The chart's own judgement of itself.
pub fn lint(settings: &[&str]) -> Result<String, String> {
    run(
        Command::new(tools().join("helm")).args(["lint", "--strict"]).arg(deploy().join("helm/pulse")).args(settings),
        "",
    )
}

/// The containers of a rendered chart, a stateful set's once for each replica.
pub fn chart(documents: &[Value]) -> Vec<Part> {
    let mut parts = Vec::new();
    for document in documents.iter().filter(|d| d["kind"] == "StatefulSet" || d["kind"] == "Deployment") {
        let replicas =
            if document["kind"] == "StatefulSet" { document["spec"]["replicas"].as_u64().unwrap() } else { 1 };
        parts.extend((0..replicas).map(|i| pod_part(document, i, documents)));
    }
    parts
}

fn pod_part(of: &Value, index: u64, documents: &[Value]) -> Part {
    let (pod, name) = (&of["spec"]["template"]["spec"], of["metadata"]["name"].as_str().unwrap());
    let container = &pod["containers"][0];
    let mut part = Part { name: format!("{name}-{index}"), args: strings(&container["args"]), ..Part::default() };
    for variable in container["env"].as_array().into_iter().flatten() {
        let value = match &variable["valueFrom"] {
            Value::Null => variable["value"].as_str().unwrap().to_owned(),
            from if from["fieldRef"]["fieldPath"] == "metadata.labels['apps.kubernetes.io/pod-index']" => {
                index.to_string()
            }
            from => format!("secret {}", from["secretKeyRef"]["key"].as_str().unwrap()),
        };
        part.env.insert(variable["name"].as_str().unwrap().into(), value);
    }
    for (key, value) in &part.env {
        part.args.iter_mut().for_each(|arg| *arg = arg.replace(&format!("$({key})"), value));
    }
    let claims = of["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten().map(|c| &c["metadata"]);
    let volumes: Vec<&Value> = pod["volumes"].as_array().unwrap().iter().chain(claims).collect();
    for mount in container["volumeMounts"].as_array().unwrap() {
        let volume = volumes.iter().find(|v| v["name"] == mount["name"]).unwrap();
        let path = mount["mountPath"].as_str().unwrap();
        if let Some(config) = volume["configMap"]["name"].as_str() {
            let map = documents.iter().find(|d| d["kind"] == "ConfigMap" && d["metadata"]["name"] == config).unwrap();
            for (file, text) in map["data"].as_object().unwrap() {
                part.files.insert(format!("{path}/{file}"), text.as_str().unwrap().into());
            }
        } else if let Some(items) = volume["secret"]["items"].as_array() {
            for item in items {
                part.files.insert(format!("{path}/{}", item["path"].as_str().unwrap()), "a secret of the tests".into());
            }
        } else if path != "/tmp" {
            part.mounts.insert(path.into(), volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned));
        }
    }
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        if let Some(port) = container[probe]["httpGet"]["port"].as_u64() {
            part.probes.push((port as u16, container[probe]["httpGet"]["path"].as_str().unwrap().into()));
        }
    }
    part
}

/// A unit of systemd; `instance` stands behind its `@`.
pub fn unit(file: &str, instance: &str, config: &str) -> Part {
    let unit = text(&format!("systemd/{file}"));
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
    let command = value("ExecStart=/usr/bin/pulse ").unwrap().replace("%i", instance);
    let mut part = Part { name: format!("{file}{instance}"), ..Part::default() };
    part.args = command.split(' ').map(str::to_owned).collect();
    part.mounts.insert("/var/lib/pulse".into(), Some("state".into()));
    assert_eq!(value("StateDirectory=").as_deref(), Some("pulse"));
    part.files.insert("/etc/pulse/pulse.toml".into(), text(config));
    if value("EnvironmentFile=-/etc/pulse/environment").is_some() {
        let lines = text("systemd/environment");
        for line in lines.lines().filter(|line| !line.starts_with('#')) {
            let (key, value) = line.split_once('=').unwrap();
            part.env.insert(key.into(), value.into());
        }
        part.files.insert("/etc/pulse/cluster.secret".into(), "a secret of the tests\n".into());
        part.files.insert("/etc/pulse/hosts.txt".into(), text("systemd/hosts.txt"));
    }
    part
}
