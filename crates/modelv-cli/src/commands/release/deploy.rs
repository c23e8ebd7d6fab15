//! `modelv release --compose`, `--k8s` and `--kserve`: files that run the image.

use std::path::PathBuf;

use modelv_release::Deployment;

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
        for (file, kserve) in [(&self.k8s, false), (&self.kserve, true)] {
            if let Some(file) = file {
                deployment.write_kubernetes(&s.dir.join(file), kserve)?;
                s.ui.talk(format!("`kubectl apply -f {}` deploys it", file.display()));
            }
        }
        Ok(())
    }
}
