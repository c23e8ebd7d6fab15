//! `modelv release --compose`, `--k8s` and `--kserve`: files that run the image.

use std::path::PathBuf;

use modelv_release::{Deployment, Gateway, compose_files};

use super::super::Session;
use crate::error::CommandError;

/// Files that run the image, written after it.
#[derive(clap::Args)]
pub(super) struct DeployArgs {
    /// Also write a folder for Docker Compose: the model, Prometheus with alerts, Grafana with a dashboard.
    #[arg(long, value_name = "DIR")]
    compose: Option<PathBuf>,
    /// Also write a Deployment with probes, a Service and a PodDisruptionBudget for Kubernetes.
    #[arg(long, value_name = "FILE")]
    k8s: Option<PathBuf>,
    /// A gateway of the cluster that leads to the model: an HTTPRoute (Gateway API) in that file, too.
    #[arg(long, value_name = "[NAMESPACE/]NAME", requires = "k8s")]
    gateway: Option<String>,
    /// Only for requests to this host.
    #[arg(long, value_name = "HOST", requires = "gateway")]
    hostname: Option<String>,
    /// Also write an InferenceService of KServe.
    #[arg(long, value_name = "FILE")]
    kserve: Option<PathBuf>,
}

impl DeployArgs {
    /// Writes what was asked for.
    pub(super) fn write(
        &self,
        deployment: &Deployment,
        s: &mut Session<'_>,
    ) -> Result<(), CommandError> {
        if let Some(dir) = &self.compose {
            deployment.write_compose(&s.dir.join(dir))?;
            s.ui.talk(format!(
                "`docker compose --project-directory {} up` starts it",
                dir.display()
            ));
        }
        let gateway = self.gateway()?;
        if let Some(file) = &self.k8s {
            deployment.write_kubernetes(&s.dir.join(file), gateway.as_ref())?;
        }
        if let Some(file) = &self.kserve {
            deployment.write_kserve(&s.dir.join(file))?;
        }
        for file in [&self.k8s, &self.kserve].into_iter().flatten() {
            s.ui.talk(format!("`kubectl apply -f {}` deploys it", file.display()));
        }
        Ok(())
    }

    /// What would fail after the image is made is said before.
    pub(super) fn check(&self, s: &Session<'_>) -> Result<(), CommandError> {
        self.gateway()?;
        let compose = self.compose.as_ref();
        let mut files = compose.map_or(Vec::new(), |dir| compose_files(&s.dir.join(dir)));
        let more = [&self.k8s, &self.kserve].into_iter().flatten();
        files.extend(more.map(|file| s.dir.join(file)));
        match files
            .into_iter()
            .find(|path| path.symlink_metadata().is_ok())
        {
            Some(path) => Err(modelv_release::Error::Taken { path }.into()),
            None => Ok(()),
        }
    }

    /// The gateway that is named.
    fn gateway(&self) -> Result<Option<Gateway>, CommandError> {
        let hostname = self.hostname.as_deref();
        let gateway = self.gateway.as_deref();
        Ok(gateway
            .map(|name| Gateway::parse(name, hostname))
            .transpose()?)
    }
}
