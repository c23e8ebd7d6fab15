//! Credentials and settings from the files of the AWS command line: `~/.aws/credentials` and
//! `~/.aws/config`. Reads only the few keys we use.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The settings of one profile.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    name: String,
    /// Whether somebody named it: then it has to be there.
    is_named: bool,
    is_there: bool,
    settings: BTreeMap<String, String>,
}

/// Settings by which a profile gets keys in ways that only the AWS tools know.
const OTHER_WAYS: [&str; 5] = [
    "sso_session",
    "sso_start_url",
    "role_arn",
    "credential_process",
    "login_session",
];

impl Profile {
    /// The profile that `AWS_PROFILE` names, or `default`.
    pub(crate) fn load() -> Self {
        let env = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let named = env("AWS_PROFILE");
        let home = |file: &str| Some(PathBuf::from(env("HOME")?).join(".aws").join(file));
        let path =
            |variable: &str, file: &str| env(variable).map(PathBuf::from).or_else(|| home(file));
        let read = |path: Option<PathBuf>| {
            path.and_then(|p| std::fs::read_to_string(p).ok())
                .unwrap_or_default()
        };
        let mut out = Self::named(named.as_deref());
        // As the AWS tools do, credentials win over the same key in the configuration.
        out.take(&read(path("AWS_CONFIG_FILE", "config")));
        out.take(&read(path("AWS_SHARED_CREDENTIALS_FILE", "credentials")));
        out
    }

    fn named(name: Option<&str>) -> Self {
        Self {
            name: name.unwrap_or("default").to_owned(),
            is_named: name.is_some(),
            ..Self::default()
        }
    }

    fn take(&mut self, text: &str) {
        let mut inside = false;
        for line in text.lines() {
            let line = line.trim();
            if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                let section = section.trim();
                inside = section.strip_prefix("profile ").unwrap_or(section).trim() == self.name;
                self.is_there |= inside;
            } else if inside
                && !line.starts_with(['#', ';'])
                && let Some((key, value)) = line.split_once('=')
            {
                self.settings
                    .insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
            }
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }

    /// Why it has no keys, where that can be told.
    pub(crate) fn lack(&self) -> Option<String> {
        let name = &self.name;
        if self.is_named && !self.is_there {
            return Some(format!(
                "AWS_PROFILE names `{name}`, which neither ~/.aws/credentials nor ~/.aws/config has"
            ));
        }
        let way = OTHER_WAYS.iter().find(|way| self.get(way).is_some())?;
        Some(format!(
            "profile `{name}` has its keys by `{way}`, from the AWS tools: \
             eval \"$(aws configure export-credentials --profile {name} --format env)\" gives them to this shell"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_profile_is_read_and_no_other() {
        let config = "# c\n[default]\nregion = eu-north-1\n[profile team]\nregion=us-west-2\n; x\nendpoint_url = http://h:1\n";
        let credentials = "[default]\naws_access_key_id = A\n[team]\naws_access_key_id = B\naws_secret_access_key= a=b/c==\n";
        let mut team = Profile::named(Some("team"));
        team.take(config);
        team.take(credentials);
        assert_eq!(team.get("region"), Some("us-west-2"));
        assert_eq!(team.get("endpoint_url"), Some("http://h:1"));
        assert_eq!(team.get("aws_access_key_id"), Some("B"));
        assert_eq!(team.get("aws_secret_access_key"), Some("a=b/c=="));
        assert_eq!(team.lack(), None);
        let mut none = Profile::named(Some("nobody"));
        none.take(config);
        assert_eq!(none, Profile::named(Some("nobody")));
    }

    #[test]
    fn what_a_profile_without_keys_lacks_is_told() {
        let lack = |name: Option<&str>, config: &str| {
            let mut profile = Profile::named(name);
            profile.take(config);
            profile.lack()
        };
        let missing = lack(Some("team"), "[default]\nregion = x\n").unwrap();
        assert!(missing.contains("AWS_PROFILE names `team`"), "{missing}");
        let sso = lack(Some("team"), "[profile team]\nsso_session = s\n").unwrap();
        assert!(sso.contains("--profile team --format env"), "{sso}");
        let role = lack(None, "[default]\nrole_arn = a\n").unwrap();
        assert!(role.contains("`role_arn`"), "{role}");
        // Nobody named one, and an instance needs none.
        assert_eq!(lack(None, ""), None);
        assert_eq!(lack(Some("team"), "[profile team]\nregion = x\n"), None);
    }
}
