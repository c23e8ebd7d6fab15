//! What a credential looks like: one row a rule. Data and the judgement of single values; no I/O.
//!
//! A rule is tried only near one of its keywords, so a clean file costs one pass of the keyword
//! automaton. Patterns are those of the `regex` crate, which never backtracks.

/// How a value that fits the pattern is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// The shape says it all; only placeholders are let through.
    Shape,
    /// It must look random.
    Random,
    /// It must look like something a person would choose as a password.
    Password,
}

/// What a text is: how values are written in it, and what a wrong hit would cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    /// Values stand in quotes.
    Code,
    /// A line may be a name and a value without quotes.
    Config,
    /// A name and a value may stand anywhere. For masking only: nothing is refused for it.
    Log,
}

/// The kinds of text a rule is tried in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    Config,
    Log,
}

impl Scope {
    pub(super) fn covers(self, kind: TextKind) -> bool {
        match self {
            Self::All => true,
            Self::Config => kind != TextKind::Code,
            Self::Log => kind == TextKind::Log,
        }
    }
}

/// One kind of credential.
pub(super) struct Rule {
    pub(super) id: &'static str,
    /// One of these stands in every match, in any case.
    pub(super) keywords: &'static [&'static str],
    /// The group `v` is the secret, `n` the name it is given.
    pub(super) pattern: &'static str,
    pub(super) check: Check,
    /// The kinds of text it is tried in.
    pub(super) scope: Scope,
    /// The match may go over several lines.
    pub(super) multi_line: bool,
}

const fn shape(id: &'static str, keywords: &'static [&'static str], pattern: &'static str) -> Rule {
    Rule {
        id,
        keywords,
        pattern,
        check: Check::Shape,
        scope: Scope::All,
        multi_line: false,
    }
}

const PASSWORD_WORDS: &[&str] = &["password", "passwd", "passphrase", "pwd"];
const TOKEN_WORDS: &[&str] = &[
    "secret",
    "token",
    "credential",
    "api_key",
    "api-key",
    "apikey",
    "access_key",
    "access-key",
    "accesskey",
    "auth_key",
    "account_key",
    "accountkey",
    "private_key",
    "signing_key",
    "encryption_key",
];

/// All rules, the telling shapes before the general ones: of two that meet, the first counts.
pub(super) const RULES: &[Rule] = &[
    Rule {
        multi_line: true,
        ..shape(
            "private-key",
            &["-----begin"],
            r#"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nrt]|["'+,\\]|(?:Proc-Type|DEK-Info|Version|Comment|Hash):[^\n\\]{0,80}){0,40}(?P<v>[A-Za-z0-9+/]{40,64})"#,
        )
    },
    shape(
        "aws-access-key",
        &["akia", "asia", "abia", "acca"],
        r"\b(?P<v>(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16})\b",
    ),
    Rule {
        check: Check::Random,
        ..shape(
            "aws-secret-key",
            &["aws"],
            r#"(?i:aws)[A-Za-z0-9_.-]{0,20}(?i:secret)[A-Za-z0-9_.-]{0,20}\\?["']?\]?\s{0,4}[:=]>?\s{0,4}\\?["']?(?P<v>[A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#,
        )
    },
    shape(
        "gcp-api-key",
        &["aiza"],
        r"\b(?P<v>AIza[0-9A-Za-z_-]{35})(?:[^0-9A-Za-z_-]|$)",
    ),
    shape(
        "gcp-oauth-token",
        &["ya29."],
        r"\b(?P<v>ya29\.[0-9A-Za-z_-]{30,})",
    ),
    shape(
        "gcp-oauth-secret",
        &["gocspx-"],
        r"\b(?P<v>GOCSPX-[0-9A-Za-z_-]{28})",
    ),
    shape(
        "azure-storage-key",
        &["accountkey="],
        r"AccountKey=(?P<v>[A-Za-z0-9+/]{86}==)",
    ),
    shape(
        "azure-client-secret",
        &["q~"],
        r"(?:^|[^A-Za-z0-9_~.-])(?P<v>[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34})(?:[^A-Za-z0-9_~.-]|$)",
    ),
    shape(
        "azure-sas-signature",
        &["sig="],
        r"[?&;]sig=(?P<v>[A-Za-z0-9%/+]{43,60}(?:%3[dD]|=))",
    ),
    shape(
        "github-token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        r"\b(?P<v>gh[pousr]_[A-Za-z0-9]{36,255})\b",
    ),
    shape(
        "github-token",
        &["github_pat_"],
        r"\b(?P<v>github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})\b",
    ),
    shape(
        "gitlab-token",
        &[
            "glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glagent-", "glsoat-",
        ],
        r"\b(?P<v>gl(?:pat|dt|rt|cbt|ptt|ft|agent|soat)-[A-Za-z0-9_.-]{20,300})",
    ),
    shape(
        "slack-token",
        &[
            "xoxb-", "xoxp-", "xoxa-", "xoxe-", "xoxr-", "xoxs-", "xapp-",
        ],
        r"\b(?P<v>(?:xox[abeprs]-(?:[0-9]-)?[0-9]{6,}-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Z0-9]{8,}-[0-9]{8,}-[a-f0-9]{32,}))",
    ),
    shape(
        "slack-webhook",
        &["hooks.slack.com"],
        r"hooks\.slack\.com/(?:services|workflows)/(?P<v>[A-Z0-9]{9,}/[A-Z0-9]{9,}/[A-Za-z0-9]{20,})",
    ),
    shape(
        "huggingface-token",
        &["hf_", "api_org_"],
        r"\b(?P<v>(?:hf|api_org)_[A-Za-z0-9]{34})\b",
    ),
    shape(
        "anthropic-key",
        &["sk-ant-"],
        r"\b(?P<v>sk-ant-[a-z]{3,8}[0-9]{2}-[A-Za-z0-9_-]{80,120})",
    ),
    shape(
        "openai-key",
        &["sk-"],
        r"\b(?P<v>sk-(?:(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,200}|[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}|[A-Za-z0-9]{48}\b))",
    ),
    shape(
        "stripe-key",
        &["k_live_"],
        r"\b(?P<v>[sr]k_live_[A-Za-z0-9]{20,200})\b",
    ),
    shape(
        "pypi-token",
        &["pypi-ageichlwas5vcmc"],
        r"(?P<v>pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,300})",
    ),
    shape("npm-token", &["npm_"], r"\b(?P<v>npm_[A-Za-z0-9]{36})\b"),
    shape(
        "sendgrid-key",
        &["sg."],
        r"\b(?P<v>SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})",
    ),
    shape(
        "databricks-token",
        &["dapi"],
        r"\b(?P<v>dapi[a-f0-9]{32}(?:-[0-9])?)\b",
    ),
    shape(
        "digitalocean-token",
        &["dop_v1_"],
        r"\b(?P<v>dop_v1_[a-f0-9]{64})\b",
    ),
    shape(
        "jwt",
        &["eyj"],
        r"\b(?P<v>eyJ[A-Za-z0-9_-]{14,}\.eyJ[A-Za-z0-9_-]{14,}\.[A-Za-z0-9_-]{20,})",
    ),
    Rule {
        check: Check::Random,
        ..shape(
            "bearer-token",
            &["authorization"],
            r#"(?i)authorization\\?["']?\]?\s{0,4}[:=]\s{0,4}f?\\?["']?(?:bearer|token|basic)\s+(?P<v>[A-Za-z0-9_.~+/=-]{16,300})"#,
        )
    },
    Rule {
        check: Check::Password,
        ..shape(
            "url-password",
            &["://"],
            r#"[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s:/@"'`<>\[\]{}()$%]{1,64}:(?P<v>[^\s:/@"'`<>\[\]{}()$]{4,128})@[A-Za-z0-9\[]"#,
        )
    },
    Rule {
        check: Check::Password,
        ..shape(
            "password",
            PASSWORD_WORDS,
            r#"(?i)(?:^|[^a-z0-9_.-])(?P<n>[a-z0-9_.-]{0,40}(?:password|passwd|passphrase|pwd)[a-z0-9_]{0,16})\\?["']?\]?(?:\s{0,4}:\s{0,4}[a-z_.\[\]| ]{1,24})?\s{0,4}(?::=|=>|=|:)\s{0,4}[bru]{0,2}\\?["'](?P<v>[^"'\s\\]{8,128})\\?["']"#,
        )
    },
    Rule {
        check: Check::Password,
        scope: Scope::Config,
        ..shape(
            "password",
            PASSWORD_WORDS,
            r#"(?i)^\s{0,40}(?:export\s{1,4}|-\s{0,4}|ENV\s{1,4})?(?P<n>[a-z0-9_.-]{0,40}(?:password|passwd|passphrase|pwd)[a-z0-9_]{0,16})\s{0,8}[:=]\s{0,8}(?P<v>[^\s"'#;,{}()\[\]<>]{8,128})\s{0,8}(?:#.{0,200})?$"#,
        )
    },
    Rule {
        check: Check::Random,
        ..shape(
            "secret",
            TOKEN_WORDS,
            r#"(?i)(?:^|[^a-z0-9_.-])(?P<n>[a-z0-9_.-]{0,40}(?:secret|token|credential|(?:api|access|auth|account|private|signing|encryption)[_-]?key)[a-z0-9_]{0,16})\\?["']?\]?(?:\s{0,4}:\s{0,4}[a-z_.\[\]| ]{1,24})?\s{0,4}(?::=|=>|=|:)\s{0,4}[bru]{0,2}\\?["'](?P<v>[A-Za-z0-9_.+/=~-]{16,200})\\?["']"#,
        )
    },
    Rule {
        check: Check::Random,
        scope: Scope::Config,
        ..shape(
            "secret",
            TOKEN_WORDS,
            r#"(?i)^\s{0,40}(?:export\s{1,4}|-\s{0,4}|ENV\s{1,4})?(?P<n>[a-z0-9_.-]{0,40}(?:secret|token|credential|(?:api|access|auth|account|private|signing|encryption)[_-]?key)[a-z0-9_]{0,16})\s{0,8}[:=]\s{0,8}(?P<v>[A-Za-z0-9_.+/=~-]{16,200})\s{0,8}(?:#.{0,200})?$"#,
        )
    },
    Rule {
        check: Check::Password,
        scope: Scope::Log,
        ..shape(
            "password",
            PASSWORD_WORDS,
            r#"(?i)(?:^|[^a-z0-9_.-])(?P<n>[a-z0-9_.-]{0,40}(?:password|passwd|passphrase|pwd)[a-z0-9_]{0,16})\s{0,4}[:=]\s{0,4}(?P<v>[^\s"'#;,{}()\[\]<>]{8,128})"#,
        )
    },
    Rule {
        check: Check::Random,
        scope: Scope::Log,
        ..shape(
            "secret",
            TOKEN_WORDS,
            r#"(?i)(?:^|[^a-z0-9_.-])(?P<n>[a-z0-9_.-]{0,40}(?:secret|token|credential|(?:api|access|auth|account|private|signing|encryption)[_-]?key)[a-z0-9_]{0,16})\s{0,4}[:=]\s{0,4}(?P<v>[A-Za-z0-9_.+/=~-]{16,200})"#,
        )
    },
];

/// A cheap look before the pattern: code is full of the word `token`, and of lines that hold no
/// value long enough to be one.
pub(super) fn is_worth_it(rule: &Rule, window: &[u8]) -> bool {
    const SHORTEST: usize = 16;
    if rule.check == Check::Password {
        return rule.id != "url-password" || window.contains(&b'@');
    }
    let (mut run, mut digits) = (0, 0);
    for b in window {
        if b.is_ascii_alphanumeric() || b"_.+/=~-%".contains(b) {
            run += 1;
            digits += usize::from(b.is_ascii_digit());
            if run >= SHORTEST && (digits > 0 || rule.check == Check::Shape) {
                return true;
            }
        } else {
            (run, digits) = (0, 0);
        }
    }
    false
}

/// Whether a value that fits `rule` is a credential, as far as can be told.
pub(super) fn is_plausible(rule: &Rule, name: &str, value: &str) -> bool {
    if is_placeholder(value) || names_something_else(name) {
        return false;
    }
    match rule.check {
        Check::Shape => true,
        Check::Random => is_random(value),
        Check::Password => is_password(value),
    }
}

/// Whether a value of this name is a password whatever it looks like.
pub(super) fn names_a_password(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    PASSWORD_WORDS.iter().any(|w| lower.contains(w)) && !names_something_else(name)
}

/// Whether a value of this name is a credential whatever it looks like. For variables, of which better
/// too few are recorded: in code, most of what is called a token is none.
pub(super) fn names_a_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let named = |w: &&str| lower.ends_with(w) || lower.contains(&format!("{w}_"));
    names_a_password(name) || (TOKEN_WORDS.iter().any(named) && !names_something_else(name))
}

/// `token_id`, `password_field`: the value is no secret but speaks of one.
fn names_something_else(name: &str) -> bool {
    const TAILS: &[&str] = &[
        "id",
        "ids",
        "name",
        "names",
        "path",
        "file",
        "url",
        "uri",
        "type",
        "length",
        "len",
        "size",
        "count",
        "index",
        "dir",
        "env",
        "var",
        "field",
        "header",
        "column",
        "hash",
        "policy",
        "regex",
        "pattern",
        "format",
        "prompt",
        "label",
        "text",
        "message",
        "error",
        "version",
        "class",
        "module",
        "help",
        "doc",
        "prefix",
        "suffix",
        "algorithm",
        "ttl",
        "scope",
        "ref",
    ];
    // Public keys; tokens that tell pages or repeated requests apart.
    const PARTS: &[&str] = &[
        "public",
        "next",
        "page",
        "pagination",
        "continuation",
        "request",
        "client_token",
        "clienttoken",
        "idempoten",
        "change_token",
        "changetoken",
    ];
    let lower = name.to_ascii_lowercase();
    if PARTS.iter().any(|p| lower.contains(p)) {
        return true;
    }
    let tail = name.rsplit(['_', '-', '.']).next().unwrap_or(name);
    TAILS.iter().any(|t| tail.eq_ignore_ascii_case(t))
}

/// Values of documentation and templates.
fn is_placeholder(value: &str) -> bool {
    const PARTS: &[&str] = &[
        "example",
        "placeholder",
        "changeme",
        "change_me",
        "change-me",
        "your",
        "insert",
        "replace",
        "dummy",
        "sample",
        "redacted",
        "xxxx",
        "****",
        "...",
        "<",
        ">",
        "${",
        "{{",
        "{}",
        "%(",
        "%s",
        "$(",
        "todo",
        "fixme",
        "foobar",
        "123456",
        "abcdef",
        "fedcba",
        "test",
        "fake",
        "mock",
        "environ",
        "getenv",
        "secrets.",
        "notreal",
        "invalid",
        "deadbeef",
        // The token of the page that explains JSON web tokens.
        "eyjzdwiioiixmjm0nty3odkwi",
        // The key of Azure's storage emulator, the same everywhere.
        "eby8vdm02xnocqfl",
    ];
    let lower = value.to_ascii_lowercase();
    if PARTS.iter().any(|p| lower.contains(p)) {
        return true;
    }
    let mut run = (0u8, 0usize);
    value.bytes().any(|b| {
        run = if b == run.0 { (b, run.1 + 1) } else { (b, 1) };
        run.1 >= 6
    })
}

/// Letters and digits without order. Words, paths and numbers are not random.
fn is_random(value: &str) -> bool {
    let has = |test: fn(&u8) -> bool| value.bytes().any(|b| test(&b));
    if !has(u8::is_ascii_alphabetic) || !has(u8::is_ascii_digit) || !has_mixed_part(value) {
        return false;
    }
    let is_hex = value.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    entropy(value) >= if is_hex { 3.0 } else { 3.5 }
}

/// Whether some part between separators has letters and digits in turn, as no word has.
fn has_mixed_part(value: &str) -> bool {
    value
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|part| {
            let kinds: Vec<bool> = part.bytes().map(|b| b.is_ascii_digit()).collect();
            part.len() >= 8 && kinds.windows(2).filter(|w| w[0] != w[1]).count() >= 2
        })
}

/// At least eight characters of two kinds, and neither a known word nor a path or call.
fn is_password(value: &str) -> bool {
    const WORDS: &[&str] = &[
        "password",
        "passwd",
        "pass",
        "secret",
        "pwd",
        "passphrase",
        "admin",
        "root",
        "user",
    ];
    let letters: String = value
        .chars()
        .filter(char::is_ascii_alphabetic)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let has_digit = value.bytes().any(|b| b.is_ascii_digit());
    let has_case = value.bytes().any(|b| b.is_ascii_uppercase())
        && value.bytes().any(|b| b.is_ascii_lowercase());
    let has_mark = value.bytes().any(|b| b"!@#^&*+?~|$%".contains(&b));
    let is_code = value.contains(['(', ')', '/', '\\', '[', '{', '`'])
        || value.starts_with(['.', '$', '%', '-']);
    value.len() >= 8
        && !letters.is_empty()
        && !is_date(value)
        && (has_digit || (has_mark && has_case))
        && !is_code
        && !WORDS.contains(&letters.as_str())
        && entropy(value) >= 2.5
}

/// `2016-09-08` and what follows: when a password was used last.
fn is_date(value: &str) -> bool {
    let shape = |(i, b): (usize, &u8)| match i {
        4 | 7 => *b == b'-',
        _ => b.is_ascii_digit(),
    };
    value.len() >= 10 && value.as_bytes()[..10].iter().enumerate().all(shape)
}

/// Shannon's entropy in bits a character.
#[expect(clippy::cast_precision_loss, reason = "values are short")]
pub(super) fn entropy(value: &str) -> f64 {
    let mut counts = [0u32; 256];
    for b in value.bytes() {
        counts[usize::from(b)] += 1;
    }
    let all = value.len() as f64;
    counts
        .iter()
        .filter(|n| **n > 0)
        .map(|n| f64::from(*n) / all)
        .map(|p| -p * p.log2())
        .sum()
}
