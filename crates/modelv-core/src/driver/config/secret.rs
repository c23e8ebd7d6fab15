//! Which values are secrets, by what their keys are called and what they look like. A guess, made
//! on the safe side: it decides only what is shown.

use crate::value::Value;

/// What stands in place of a secret.
pub(super) const HIDDEN: &str = "(hidden)";

const WORDS: [&str; 13] = [
    "secret",
    "token",
    "passw",
    "passphrase",
    "pwd",
    "credential",
    "private",
    "apikey",
    "api_key",
    "access_key",
    "auth",
    "salt",
    "dsn",
];

const STARTS: [&str; 14] = [
    "ghp_",
    "gho_",
    "github_pat_",
    "glpat-",
    "sk-",
    "sk_live_",
    "rk_live_",
    "xoxb-",
    "xoxp-",
    "hf_",
    "AKIA",
    "ASIA",
    "eyJ",
    "-----BEGIN",
];

/// Whether a value of this key must not be shown.
pub(super) fn is_secret(key: &str, value: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let named = WORDS.iter().any(|w| key.contains(w)) || key.ends_with("key");
    let url = value.split_once("://").is_some_and(|(_, rest)| {
        rest.split('/')
            .next()
            .is_some_and(|host| host.contains('@'))
    });
    !value.is_empty()
        && (named || url || STARTS.iter().any(|s| value.starts_with(s)) || random(value))
}

/// Long, without blanks, and of letters and digits mixed as only machines mix them.
fn random(value: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "+/=_-".contains(c);
    let count = |f: fn(&char) -> bool| value.chars().filter(f).count();
    value.len() >= 32
        && value.chars().all(fits)
        && count(char::is_ascii_digit) >= 4
        && count(char::is_ascii_alphabetic) >= 4
}

/// The value, or that it is hidden.
pub(super) fn shown(key: &str, value: Value) -> Value {
    match &value {
        Value::Str(text) if is_secret(key, text) => Value::Str(HIDDEN.into()),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name_and_by_look() {
        for (key, value, secret) in [
            ("DB_PASSWORD", "x", true),
            ("OPENAI_API_KEY", "x", true),
            ("PASSWORD", "", false),
            ("DATABASE_URL", "postgres://u:p@host/db", true),
            ("URL", "https://host/a@b", false),
            ("X", "hf_abcdef", true),
            ("X", "0123456789abcdef0123456789abcdef", true),
            ("LR", "0.001", false),
            (
                "DATA_DIR",
                "/data/a-long-path/that-is-no-secret/at-all",
                false,
            ),
        ] {
            assert_eq!(is_secret(key, value), secret, "{key}={value}");
        }
    }
}
