use std::collections::BTreeMap;

use modelv_core::value::Value;
use proptest::prelude::*;

use super::rules::RULES;
use super::*;
use crate::worktree::Rules;

/// Characters without order, from a fixed seed: made here, so that no key stands in this file.
fn random(alphabet: &str, len: usize) -> String {
    let letters: Vec<char> = alphabet.chars().collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            letters[usize::try_from(state % letters.len() as u64).unwrap()]
        })
        .collect()
}

const WORD: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const HEX: &str = "0123456789abcdef";

fn rules_in(text: &str) -> Vec<&'static str> {
    let hits = scan(&mut text.as_bytes(), TextKind::Code).unwrap();
    hits.iter().map(|h| h.rule).collect()
}

#[test]
fn all_patterns_are_valid() {
    assert!(scan::all_patterns_compile());
    for rule in RULES {
        assert!(!rule.keywords.is_empty(), "{}", rule.id);
        let lower = |w: &&str| w.chars().all(|c| !c.is_uppercase());
        assert!(rule.keywords.iter().all(lower), "{}", rule.id);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn every_kind_of_credential_is_found() {
    let w = |n| random(WORD, n);
    let hex = |n| random(HEX, n);
    let cases = [
        (
            "aws-access-key",
            format!("id = '{}{}'", "AKIA", random(UPPER, 16)),
        ),
        (
            "aws-secret-key",
            format!("aws_secret_access_key = {}", w(40)),
        ),
        ("gcp-api-key", format!("key={}{}", "AIza", w(35))),
        ("gcp-oauth-token", format!("\"{}{}\"", "ya29.", w(60))),
        ("gcp-oauth-secret", format!("{}{}", "GOCSPX-", w(28))),
        (
            "azure-storage-key",
            format!("AccountName=x;AccountKey={}==;", w(86)),
        ),
        ("azure-client-secret", format!("'{}8Q~{}'", w(3), w(34))),
        (
            "azure-sas-signature",
            format!("https://x/y?sv=1&sig={}%3D", w(43)),
        ),
        ("github-token", format!("{}{}", "ghp_", w(36))),
        (
            "github-token",
            format!("{}{}_{}", "github_pat_", w(22), w(59)),
        ),
        ("gitlab-token", format!("{}{}", "glpat-", w(20))),
        (
            "slack-token",
            format!("{}{}", "xoxb-", ["2048172953-1750284617-", &w(24)].concat()),
        ),
        (
            "slack-webhook",
            format!(
                "https://hooks.slack.com/services/T{0}/B{0}/{1}",
                random(UPPER, 9),
                w(24)
            ),
        ),
        ("huggingface-token", format!("login('{}{}')", "hf_", w(34))),
        ("anthropic-key", format!("{}api03-{}", "sk-ant-", w(90))),
        ("openai-key", format!("{}{}", "sk-proj-", w(60))),
        ("openai-key", format!("{}{}", "sk-", w(48))),
        ("stripe-key", format!("{}{}", "sk_live_", w(24))),
        ("pypi-token", format!("{}{}", "pypi-AgEIcHlwaS5vcmc", w(60))),
        ("npm-token", format!("{}{}", "npm_", w(36))),
        ("sendgrid-key", format!("SG.{}.{}", w(22), w(43))),
        ("databricks-token", format!("{}{}", "dapi", hex(32))),
        ("digitalocean-token", format!("{}{}", "dop_v1_", hex(64))),
        ("jwt", format!("eyJ{}.eyJ{}.{}", w(20), w(30), w(43))),
        (
            "bearer-token",
            format!("{{'Authorization': 'Bearer {}'}}", w(40)),
        ),
        (
            "url-password",
            "postgres://ada:kG7vdW2m@db.internal/x".to_owned(),
        ),
        ("password", "password = \"kG7vdW2m\"".to_owned()),
        ("password", "connect(db_passwd='Correct!horse')".to_owned()),
        ("secret", format!("WANDB_API_KEY: str = '{}'", hex(40))),
        ("secret", format!("{{\"client_secret\": \"{}\"}}", w(30))),
    ];
    for (rule, text) in &cases {
        assert_eq!(rules_in(text), [*rule], "{text}");
        // The same inside of a notebook, where a line is a JSON string.
        let cell = format!(
            "{{\"source\": [{}]}}",
            serde_json::Value::from(text.as_str())
        );
        assert_eq!(rules_in(&cell), [*rule], "{cell}");
    }
    let missing = RULES
        .iter()
        .find(|r| r.id != "private-key" && !cases.iter().any(|(id, _)| *id == r.id));
    assert!(missing.is_none(), "no case for {}", missing.unwrap().id);
}

#[test]
fn private_keys_are_found_in_files_and_in_strings() {
    let body = format!("{}\n{}", random(WORD, 64), random(WORD, 64));
    let head = ["-----BEGIN", "PRIVATE KEY-----"];
    for text in [
        format!("{} RSA {}\n{body}\n", head[0], head[1]),
        format!(
            "{} {}\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{body}\n",
            head[0], head[1]
        ),
        format!(
            "{{\"private_key\": \"{} {}\\n{}\\n\"}}",
            head[0],
            head[1],
            body.replace('\n', "\\n")
        ),
        format!("k = ('{} OPENSSH {}\\n'\n     '{body}')", head[0], head[1]),
    ] {
        assert_eq!(rules_in(&text), ["private-key"], "{text}");
    }
    // Code that reads keys names the line and holds none.
    assert_eq!(
        rules_in(&format!(
            "if line == '{} RSA {}':\n    return load(data, encoding=None)",
            head[0], head[1]
        )),
        [""; 0]
    );
}

#[test]
fn code_that_speaks_of_secrets_is_none() {
    for text in [
        "password = os.environ['DB_PASSWORD']",
        "password = \"${DB_PASSWORD}\"",
        "password: str = \"changeme123\"",
        "password = \"password123\"",
        ">>> opener.add_password(realm='PDQ', passwd='geheim$parole')",
        "\"next_page_token\": \"eyJpbmRleCI6IDExfQ==\",",
        "ClientRequestToken: 'bcd29a83f0c14d7e9b6a'",
        "publicKeyToken=\"1fc8b3b9a1e18e3b\"",
        "if password == \"kG7vdW2m\":",
        "pad_token = \"<|endoftext_0001|>\"",
        "tokenizer_name = \"bert-base-uncased-finetuned-mrpc\"",
        "secret_name = \"a8Fk39sLw02mXnQ7vb\"",
        "token = \"my-team-database-v2-production\"",
        "api_key = \"YOUR_API_KEY_0123\"",
        "aws_access_key_id = AKIAIOSFODNN7EXAMPLE",
        "https://user:password@example.org/path",
        "https://host:8080/a@b",
        "postgres://{user}:{password}@{host}",
        "sha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
        "model = \"sentence-transformers/all-MiniLM-L6-v2\"",
        "token = \"ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"",
        "access_key = config.get('access_key_2023_v2_main')",
        "\"PasswordLastUsed\": \"2016-09-08T21:47:36Z\",",
        "account_key='Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq'",
    ] {
        assert_eq!(rules_in(text), [""; 0], "{text}");
    }
}

#[test]
fn configuration_files_need_no_quotes() {
    let text = format!(
        "# db\ndb_password: kG7vdW2m # mine\nAPI_TOKEN={}\n",
        random(HEX, 32)
    );
    let hits = scan(&mut text.as_bytes(), TextKind::Config).unwrap();
    let found: Vec<(&str, u64)> = hits.iter().map(|h| (h.rule, h.line)).collect();
    assert_eq!(found, [("password", 2), ("secret", 3)]);
    assert_eq!(rules_in(&text), [""; 0], "code is not read that way");
}

#[test]
fn a_long_file_is_read_in_pieces_and_nothing_is_lost_between_them() {
    let key = format!("{}{}", "ghp_", random(WORD, 36));
    for at in [
        0,
        255 << 10,
        (256 << 10) - 1300,
        (256 << 10) - 20,
        256 << 10,
        600_000,
    ] {
        let mut text = "x = 1\n".repeat(at / 6).into_bytes();
        let (start, line) = (text.len() as u64 + 4, (at / 6) as u64 + 1);
        text.extend(format!("k = {key}\n").into_bytes());
        text.extend("y = 2\n".repeat(60_000).into_bytes());
        let hits = scan(&mut &text[..], TextKind::Code).unwrap();
        let found: Vec<(u64, u64)> = hits.iter().map(|h| (h.start, h.line)).collect();
        assert_eq!(found, [(start, line)], "at {at}");
    }
    // Nor in one line of a megabyte.
    let line = format!(
        "{} {key} {}",
        "token ".repeat(80_000),
        "pwd ".repeat(80_000)
    );
    assert_eq!(rules_in(&line), ["github-token"]);
    assert_eq!(scan(&mut &b"\0\x01ghp_"[..], TextKind::Code).unwrap(), []);
}

#[test]
fn values_are_masked_and_never_shown() {
    let token = format!("{}{}", "hf_", random(WORD, 34));
    let mut values: BTreeMap<String, Value> = [
        ("hub.token", token.as_str()),
        ("db.password", "abc"),
        ("optimizer", "adam"),
        ("pad_token", "[PAD]"),
        ("note", &format!("uses {token}")),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), Value::Str(v.to_owned())))
    .collect();
    values.insert("max_tokens".into(), Value::Int(7));
    mask_values(&mut values);
    let shown: Vec<String> = values.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        shown,
        [
            "db.password=\"***\"".to_owned(),
            format!("hub.token=\"{}***\"", &token[..4]),
            "max_tokens=7".into(),
            format!("note=\"uses {}{}\"", &token[..4], "*".repeat(33)),
            "optimizer=\"adam\"".into(),
            "pad_token=\"[PAD]\"".into(),
        ]
    );
    let mut words: Vec<String> = ["train", "--token", &token, "--password=abc", "-x", &token]
        .map(str::to_owned)
        .into();
    mask_words(&mut words);
    assert!(words.iter().all(|w| !w.contains(&token[5..])), "{words:?}");
    assert_eq!(words[3], "--password=***");
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    std::fs::write(&log, format!("epoch 1\nusing {token}\nepoch 2\n")).unwrap();
    assert_eq!(mask_file(&log).unwrap(), 1);
    let masked = format!(
        "epoch 1\nusing {}{}\nepoch 2\n",
        &token[..4],
        "*".repeat(33)
    );
    assert_eq!(std::fs::read_to_string(&log).unwrap(), masked);
}

#[test]
fn a_log_needs_no_quotes() {
    let (token, word) = (random(WORD, 40), random(WORD, 12));
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let masked = |line: &str| {
        std::fs::write(&log, line).unwrap();
        mask_file(&log).unwrap();
        std::fs::read_to_string(&log).unwrap()
    };
    for line in [
        format!("token={token}"),
        format!("12:01 INFO logging in with password={word} as bob"),
        format!("Namespace(lr=0.1, api_key: {token}, seed=1)"),
        format!("12:01 db.passwd: {word}"),
    ] {
        let got = masked(&line);
        assert!(
            !got.contains(&word[1..]) && !got.contains(&token[4..]),
            "{got}"
        );
        assert_eq!(got.len(), line.len());
        // What is masked stays as it is.
        assert_eq!(masked(&got), got);
    }
    for line in [
        "tokens: 123456789012345678 in 3.2 s",
        "pad_token: [PAD]",
        "epoch 3: tokens/s=81234.51234567890",
        "pwd: /home/bob/work2/x",
        "password: (none) token: <unset-by-user-9>",
    ] {
        assert_eq!(masked(line), line);
    }
}

#[test]
fn what_is_allowed_must_be_well_formed() {
    let parse = |entry: &str| Rules::parse(&format!("[secrets]\nallow = {entry}\n"));
    assert!(parse("[\"tests/**\", \"password@a/b.py:0123456789ab\"]").is_ok());
    for (entry, word) in [
        ("\"x\"", "not a list"),
        ("[1]", "more than strings"),
        ("[\"password@a.py\"]", "RULE@PATH:HASH"),
        ("[\"a{\"]", "pattern `a{`"),
    ] {
        let error = parse(entry).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

proptest! {
    #[test]
    fn masking_changes_no_length_and_twice_is_once(text in "[ -~\n]{0,400}") {
        let once = mask_text(&text);
        prop_assert_eq!(once.len(), text.len());
        prop_assert_eq!(mask_text(&once), once);
    }

    #[test]
    fn any_bytes_are_scanned(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let hits = scan(&mut &bytes[..], TextKind::Log).unwrap();
        for hit in hits {
            let start = usize::try_from(hit.start).unwrap();
            prop_assert_eq!(&bytes[start..start + hit.value.len()], &hit.value[..]);
        }
    }
}
