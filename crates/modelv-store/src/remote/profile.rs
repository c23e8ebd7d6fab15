//! Credentials and settings from the files of the AWS command line: `~/.aws/credentials` and
//! `~/.aws/config`. Reads only the few keys we use.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The settings of one profile.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Profile(BTreeMap<String, String>);

impl Profile {
    /// The profile that `AWS_PROFILE` names, or `default`.
    pub(crate) fn load() -> Self {
        let env = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let name = env("AWS_PROFILE").unwrap_or_else(|| "default".into());
        let home = |file: &str| Some(PathBuf::from(env("HOME")?).join(".aws").join(file));
        let path =
            |variable: &str, file: &str| env(variable).map(PathBuf::from).or_else(|| home(file));
        let read = |path: Option<PathBuf>| {
            path.and_then(|p| std::fs::read_to_string(p).ok())
                .unwrap_or_default()
        };
        let mut out = Self::default();
        // As the AWS tools do, credentials win over the same key in the configuration.
        out.take(&read(path("AWS_CONFIG_FILE", "config")), &name);
        out.take(
            &read(path("AWS_SHARED_CREDENTIALS_FILE", "credentials")),
            &name,
        );
        out
    }

    fn take(&mut self, text: &str, profile: &str) {
        let mut inside = false;
        for line in text.lines() {
            let line = line.trim();
            if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                let section = section.trim();
                inside = section.strip_prefix("profile ").unwrap_or(section).trim() == profile;
            } else if inside
                && !line.starts_with(['#', ';'])
                && let Some((key, value)) = line.split_once('=')
            {
                self.0
                    .insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
            }
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_profile_is_read_and_no_other() {
        let config = "# c\n[default]\nregion = eu-north-1\n[profile team]\nregion=us-west-2\n; x\nendpoint_url = http://h:1\n";
        let credentials = "[default]\naws_access_key_id = A\n[team]\naws_access_key_id = B\naws_secret_access_key= a=b/c==\n";
        let mut team = Profile::default();
        team.take(config, "team");
        team.take(credentials, "team");
        assert_eq!(team.get("region"), Some("us-west-2"));
        assert_eq!(team.get("endpoint_url"), Some("http://h:1"));
        assert_eq!(team.get("aws_access_key_id"), Some("B"));
        assert_eq!(team.get("aws_secret_access_key"), Some("a=b/c=="));
        let mut none = Profile::default();
        none.take(config, "nobody");
        assert_eq!(none, Profile::default());
    }
}
