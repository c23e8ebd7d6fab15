//! Files that run an image elsewhere: Docker Compose with Prometheus and Grafana beside it, and Kubernetes.
//!
//! The same image gives the same files. Must never write over a file that is there.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Longest name of a label in DNS, less what is put behind it.
const NAME_MAX: usize = 50;

/// Files of `--compose`, below its folder.
const COMPOSE: &[(&str, &str)] = &[
    ("compose.yaml", include_str!("compose.yaml")),
    ("prometheus.yml", include_str!("prometheus.yml")),
    ("alerts.yml", include_str!("alerts.yml")),
    ("grafana/datasource.yml", include_str!("datasource.yml")),
    ("grafana/dashboards.yml", include_str!("dashboards.yml")),
    ("grafana/modelv.json", include_str!("dashboard.json")),
];
const KUBERNETES: &str = include_str!("kubernetes.yaml");
const ROUTE: &str = include_str!("httproute.yaml");
const KSERVE: &str = include_str!("kserve.yaml");

/// What is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Reference of the image, as an engine pulls it. Its name, without registry and tag, is what all is called: the
    /// next release of it takes the place of this one.
    pub image: String,
    /// The commit.
    pub commit: String,
}

/// A gateway of a cluster (Gateway API) that leads to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    namespace: Option<String>,
    name: String,
    hostname: Option<String>,
}

/// Whether a text is a name in DNS, with dots in it or not.
fn is_dns(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_label = |label: &str| {
        let edges = [label.bytes().next(), label.bytes().last()];
        edges.iter().all(|b| b.is_some_and(plain))
            && label.len() <= 63
            && label.bytes().all(|b| plain(b) || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

impl Gateway {
    /// Reads `[NAMESPACE/]NAME`, and the name of a host whose requests are meant.
    ///
    /// # Errors
    /// One of them is none.
    pub fn parse(text: &str, hostname: Option<&str>) -> Result<Self> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        // For all hosts of a domain, too.
        let host = hostname.map(|host| host.strip_prefix("*.").unwrap_or(host));
        let all = [Some(name), namespace, host];
        if let Some(wrong) = all.into_iter().flatten().find(|part| !is_dns(part)) {
            return Err(Error::DnsName {
                name: wrong.to_owned(),
            });
        }
        Ok(Self {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            hostname: hostname.map(str::to_owned),
        })
    }

    fn fill(&self, text: &str) -> String {
        let name = match &self.namespace {
            Some(namespace) => format!("{}\"\n      namespace: \"{namespace}", self.name),
            None => self.name.clone(),
        };
        let host = self.hostname.as_ref();
        let host = host.map_or(String::new(), |host| {
            format!("  hostnames:\n    - \"{host}\"\n")
        });
        text.replace("@GATEWAY@", &name)
            .replace("@HOSTNAME@", &host)
    }
}

impl Deployment {
    /// The name of the image as a label of DNS.
    fn label(&self) -> String {
        let name = self.image.rsplit('/').next().unwrap_or_default();
        let name = name.split([':', '@']).next().unwrap_or_default();
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        };
        let label: String = name.chars().map(plain).take(NAME_MAX).collect();
        let label = label.trim_matches('-');
        match label.chars().next() {
            Some(first) if first.is_ascii_alphabetic() => label.to_owned(),
            Some(_) => format!("model-{label}"),
            None => "model".to_owned(),
        }
    }

    fn fill(&self, text: &str) -> String {
        // A reference and an id hold nothing that YAML or JSON would take for more than text.
        text.replace("@NAME@", &self.label())
            .replace("@IMAGE@", &self.image)
            .replace("@COMMIT@", &self.commit)
            .replace("@SHORT@", self.commit.get(..12).unwrap_or(&self.commit))
    }

    /// Writes a Docker Compose file into a folder: the model, Prometheus that scrapes it every five
    /// seconds, alert rules, and a dashboard of Grafana.
    ///
    /// # Errors
    /// A file is there already, or can't be written.
    pub fn write_compose(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let paths = compose_files(dir);
        if let Some(path) = paths.iter().find(|p| p.symlink_metadata().is_ok()) {
            return Err(Error::Taken { path: path.clone() });
        }
        for (path, (_, text)) in paths.iter().zip(COMPOSE) {
            write_new(path, &self.fill(text))?;
        }
        Ok(paths)
    }

    /// Writes a Deployment with probes, a Service and a PodDisruptionBudget for Kubernetes; and an HTTPRoute, if
    /// a gateway is to lead there.
    ///
    /// # Errors
    /// The file is there already, or can't be written.
    pub fn write_kubernetes(&self, file: &Path, gateway: Option<&Gateway>) -> Result<()> {
        let route = gateway.map_or(String::new(), |gateway| gateway.fill(ROUTE));
        write_new(file, &self.fill(&format!("{KUBERNETES}{route}")))
    }

    /// Writes an InferenceService of KServe.
    ///
    /// # Errors
    /// The file is there already, or can't be written.
    pub fn write_kserve(&self, file: &Path) -> Result<()> {
        write_new(file, &self.fill(KSERVE))
    }
}

/// The files that [`Deployment::write_compose`] writes into a folder.
#[must_use]
pub fn compose_files(dir: &Path) -> Vec<PathBuf> {
    COMPOSE.iter().map(|(name, _)| dir.join(name)).collect()
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Error::Taken {
            path: path.to_owned(),
        },
        _ => modelv_repo::Error::io("write", path)(e).into(),
    };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    let mut file = std::fs::File::create_new(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_labels() {
        for (image, want) in [
            ("tweets", "tweets"),
            ("registry.example:5000/team/tweets:1.2", "tweets"),
            ("localhost/German_2@sha256:12", "german-2"),
            ("r.example/1a2b", "model-1a2b"),
            ("--", "model"),
            ("\u{fc}", "model"),
            (&"x".repeat(90), &"x".repeat(NAME_MAX)),
        ] {
            let d = Deployment {
                image: image.to_owned(),
                commit: "c".into(),
            };
            assert_eq!(d.label(), want, "{image}");
        }
    }

    #[test]
    fn nothing_is_written_over_and_nothing_is_left_open() {
        let dir = tempfile::tempdir().unwrap();
        let deployment = Deployment {
            image: "registry.example/team/tweets:1".into(),
            commit: "ab".repeat(32),
        };
        let written = deployment.write_compose(dir.path()).unwrap();
        for path in &written {
            let text = std::fs::read_to_string(path).unwrap();
            assert!(!text.contains('@'), "{}: {text}", path.display());
        }
        assert!(matches!(
            deployment.write_compose(dir.path()),
            Err(Error::Taken { .. })
        ));
        let file = dir.path().join("k8s.yaml");
        let gateway = Gateway::parse("edge/public", Some("*.example.org")).unwrap();
        deployment.write_kubernetes(&file, Some(&gateway)).unwrap();
        let text = std::fs::read_to_string(&file).unwrap().replace("*.", "");
        assert!(!text.contains('@'), "{text}");
        assert!(matches!(
            deployment.write_kserve(&file),
            Err(Error::Taken { .. })
        ));
        for (name, host) in [
            ("", None),
            ("A", None),
            ("a/b/c", None),
            ("a", Some("x_y")),
            ("a\"", None),
        ] {
            assert!(Gateway::parse(name, host).is_err(), "{name} {host:?}");
        }
    }
}
