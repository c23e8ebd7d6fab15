//! What stands below the help of every verb: an example, and what its exit status means. Applied to
//! the parser in one place, so that help, man pages and completions agree.

use clap::{Command, CommandFactory};

/// Verb (with its sub-verb), an example, and what it means by the statuses that are its own.
type Row = (&'static str, &'static str, &'static [(u8, &'static str)]);

const CONFLICTS: (u8, &str) = (3, "conflicts remain");

const ROWS: &[Row] = &[
    ("init", "modelv init", &[]),
    ("status", "modelv status --json", &[]),
    ("track", "modelv track --explain data/train.csv", &[]),
    (
        "commit",
        "modelv commit -m \"learn German\"",
        &[
            (1, "nothing to commit, a credential was found, or it failed"),
            CONFLICTS,
        ],
    ),
    ("log", "modelv log --graph --oneline main..HEAD", &[]),
    ("show", "modelv show HEAD~1", &[]),
    (
        "diff",
        "modelv diff main HEAD -- params.toml",
        &[(1, "with --exit-code: something differs; or it failed")],
    ),
    ("branch", "modelv branch experiment HEAD~2", &[]),
    ("switch", "modelv switch -c experiment", &[]),
    ("mount", "modelv mount HEAD~1 /mnt/model", &[]),
    ("restore", "modelv restore params.toml", &[]),
    ("tag", "modelv tag v1 HEAD", &[]),
    (
        "merge",
        "modelv merge colleague -m \"the colleague's preprocessing\"",
        &[CONFLICTS],
    ),
    ("conflicts", "modelv conflicts --json", &[]),
    (
        "resolve",
        "modelv resolve params.toml:train.c --value 3.0",
        &[],
    ),
    ("mergetool", "modelv mergetool train.py", &[CONFLICTS]),
    (
        "cherry-pick",
        "modelv cherry-pick main..colleague",
        &[CONFLICTS],
    ),
    ("revert", "modelv revert HEAD~1", &[CONFLICTS]),
    ("rebase", "modelv rebase main", &[CONFLICTS]),
    ("undo", "modelv undo", &[]),
    ("blame", "modelv blame params.toml", &[]),
    ("bisect", "modelv bisect start HEAD v1", &[]),
    ("bisect start", "modelv bisect start HEAD v1", &[]),
    ("bisect good", "modelv bisect good", &[]),
    ("bisect bad", "modelv bisect bad HEAD~3", &[]),
    ("bisect skip", "modelv bisect skip", &[]),
    ("bisect run", "modelv bisect run --metric 'f1>0.8'", &[]),
    ("bisect status", "modelv bisect status", &[]),
    ("bisect reset", "modelv bisect reset", &[]),
    ("clone", "modelv clone s3://bucket/tweets", &[]),
    ("import", "modelv import git ../old", &[]),
    (
        "add-external",
        "modelv add-external s3://bucket/big.csv data/big.csv",
        &[],
    ),
    (
        "import-url",
        "modelv import-url https://example.org/rows.csv data/",
        &[],
    ),
    ("external", "modelv external", &[]),
    ("external list", "modelv external list data", &[]),
    (
        "external check",
        "modelv external check",
        &[(1, "a source has changed or is gone; or it failed")],
    ),
    ("external fetch", "modelv external fetch data/big.csv", &[]),
    (
        "external update",
        "modelv external update data/big.csv",
        &[],
    ),
    (
        "import mlflow",
        "modelv import mlflow ../old/mlflow.db",
        &[],
    ),
    (
        "import hf",
        "modelv import hf distilbert/distilbert-base-uncased",
        &[],
    ),
    ("import dvc", "modelv import dvc ../old", &[]),
    ("import git", "modelv import git ../old --branch main", &[]),
    (
        "export git",
        "modelv export git ../code --branch modelv",
        &[],
    ),
    ("remote", "modelv remote", &[]),
    (
        "remote add",
        "modelv remote add origin s3://bucket/tweets",
        &[],
    ),
    ("remote list", "modelv remote list", &[]),
    ("remote remove", "modelv remote remove origin", &[]),
    ("fetch", "modelv fetch origin --prune", &[]),
    ("pull", "modelv pull origin main", &[CONFLICTS]),
    ("push", "modelv push origin main", &[]),
    ("hooks", "modelv hooks", &[]),
    ("hooks allow", "modelv hooks allow", &[]),
    ("hooks forbid", "modelv hooks forbid", &[]),
    ("ci", "modelv ci run HEAD", &[]),
    (
        "ci init",
        "modelv ci init gitlab --push registry.example/team/tweets:1",
        &[],
    ),
    (
        "ci run",
        "modelv ci run HEAD --recreate",
        &[(1, "a step failed")],
    ),
    (
        "merge-base",
        "modelv merge-base main experiment",
        &[(1, "they have none; or it failed")],
    ),
    ("compose", "modelv compose --code main --data labels", &[]),
    (
        "weights",
        "modelv weights merge a:w.safetensors b:w.safetensors --method slerp=0.5 -o w.safetensors",
        &[],
    ),
    (
        "weights merge",
        "modelv weights merge a:w.safetensors b:w.safetensors --method slerp=0.5 -o w.safetensors",
        &[],
    ),
    (
        "scan",
        "modelv scan models",
        &[(1, "something was found; or it failed")],
    ),
    ("sparse", "modelv sparse", &[]),
    ("sparse set", "modelv sparse set data/german models", &[]),
    ("sparse list", "modelv sparse list", &[]),
    ("sparse disable", "modelv sparse disable", &[]),
    ("rev-parse", "modelv rev-parse HEAD --recipe", &[]),
    ("cat", "modelv cat HEAD~1:params.toml", &[]),
    ("export", "modelv export HEAD folder", &[]),
    (
        "run",
        "modelv run -m \"train\" -- python train.py",
        &[
            (1, "it failed; a command that fails gives its own status"),
            CONFLICTS,
        ],
    ),
    ("pipeline", "modelv pipeline", &[]),
    ("pipeline show", "modelv pipeline show --json", &[]),
    ("pipeline status", "modelv pipeline status train", &[]),
    (
        "pipeline run",
        "modelv pipeline run train --jobs 4",
        &[(1, "a stage failed; or it failed")],
    ),
    (
        "reproduce",
        "modelv reproduce HEAD --tolerance 1e-6",
        &[(1, "the outcome differs; or it failed")],
    ),
    ("lineage", "modelv lineage models/model.joblib", &[]),
    ("runs", "modelv runs --metric 'f1>0.8' --sort -f1", &[]),
    ("runs show", "modelv runs show HEAD --log", &[]),
    (
        "runs compare",
        "modelv runs compare main experiment --changed",
        &[],
    ),
    (
        "runs forget",
        "modelv runs forget --failed --older-than 30d --dry-run",
        &[],
    ),
    ("runs best", "modelv runs best --metric loss --min", &[]),
    ("env", "modelv env show HEAD", &[]),
    ("env show", "modelv env show HEAD", &[]),
    (
        "env diff",
        "modelv env diff main HEAD",
        &[(1, "with --exit-code: something differs; or it failed")],
    ),
    (
        "env check",
        "modelv env check HEAD",
        &[(1, "this machine differs in what matters; or it failed")],
    ),
    (
        "env recreate",
        "modelv env recreate HEAD --output venv --wheels wheels",
        &[(1, "it is not exactly as recorded; or it failed")],
    ),
    ("env vendor", "modelv env vendor HEAD --wheels wheels", &[]),
    (
        "release",
        "modelv release HEAD --output image --tag tweets:latest",
        &[],
    ),
    ("release unpack", "modelv release unpack image folder", &[]),
    ("release inspect", "modelv release inspect image", &[]),
    (
        "release plan",
        "modelv release plan HEAD",
        &[(1, "something is in the way of the release; or it failed")],
    ),
    (
        "release explain",
        "modelv release explain registry.example/team/tweets:1",
        &[],
    ),
    ("release diff", "modelv release diff image other", &[]),
    (
        "release golden",
        "modelv release golden requests.jsonl",
        &[],
    ),
    (
        "registry serve",
        "modelv registry serve --listen 127.0.0.1:5000",
        &[],
    ),
    (
        "release push",
        "modelv release push image registry.example/team/tweets:1",
        &[],
    ),
    (
        "release verify",
        "modelv release verify image HEAD",
        &[(1, "the image is not what the commit gives; or it failed")],
    ),
    ("registry serve", "modelv registry serve", &[]),
    ("registry", "modelv registry serve", &[]),
    ("serve", "modelv serve HEAD", &[]),
    ("fsck", "modelv fsck", &[]),
    ("gc", "modelv gc --dry-run", &[]),
    ("stats", "modelv stats", &[]),
    ("config", "modelv config user.name \"Ada Lovelace\"", &[]),
    ("alias", "eval \"$(modelv alias --shell bash)\"", &[]),
    (
        "alias set",
        "modelv alias set prod HEAD --expect 1a2b3c4d -m \"the German model\"",
        &[(
            1,
            "a gate does not pass, or it names another commit; nothing has moved",
        )],
    ),
    (
        "alias rollback",
        "modelv alias rollback prod -m \"too slow\"",
        &[],
    ),
    ("alias list", "modelv alias list --json", &[]),
    ("alias log", "modelv alias log prod", &[]),
    ("alias delete", "modelv alias delete staging", &[]),
    ("completions", "eval \"$(modelv completions bash)\"", &[]),
    ("man", "modelv man ~/.local/share/man/man1", &[]),
];

/// The parser with what stands below the help of each verb.
pub(crate) fn command() -> Command {
    describe(super::Cli::command(), "")
}

fn describe(command: Command, above: &str) -> Command {
    command.mut_subcommands(|sub| {
        let name = [above, sub.get_name()].join(" ").trim().to_owned();
        let row = ROWS.iter().find(|(verb, ..)| *verb == name);
        let sub = match row {
            Some((_, example, own)) => sub.after_help(text(example, own)),
            None => sub,
        };
        describe(sub, &name)
    })
}

fn text(example: &str, own: &[(u8, &str)]) -> String {
    let own_of = |code: u8| {
        own.iter()
            .find(|(c, _)| *c == code)
            .map(|(_, words)| *words)
    };
    let mut codes = vec![
        (0, "done"),
        (1, own_of(1).unwrap_or("it failed")),
        (2, "wrong usage"),
    ];
    codes.extend(own_of(3).map(|words| (3, words)));
    codes.extend([(4, "stored bytes are damaged"), (130, "interrupted")]);
    let lines: Vec<String> = codes
        .iter()
        .map(|(code, words)| format!("  {code:<3}  {words}"))
        .collect();
    format!(
        "Example:\n  {example}\n\nExit status:\n{}",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(command: &Command, above: &str, out: &mut Vec<String>) {
        for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
            let name = [above, sub.get_name()].join(" ").trim().to_owned();
            names(sub, &name, out);
            out.push(name);
        }
    }

    #[test]
    fn every_verb_has_an_example_that_parses() {
        let mut verbs = Vec::new();
        names(&super::super::Cli::command(), "", &mut verbs);
        for verb in &verbs {
            let row = ROWS.iter().find(|(name, ..)| name == verb);
            assert!(row.is_some(), "`{verb}` has no row in commands/help.rs");
        }
        for (verb, example, _) in ROWS {
            assert!(verbs.iter().any(|v| v == verb), "`{verb}` is no verb");
            let plain = example
                .trim_start_matches("eval \"$(")
                .trim_end_matches(")\"");
            let parsed = command().try_get_matches_from(words(plain));
            assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
        }
    }

    /// Words as a shell has them, as far as the examples need it.
    fn words(line: &str) -> Vec<String> {
        let (mut out, mut quote) = (vec![String::new()], None);
        for c in line.chars() {
            match (quote, c) {
                (None, '"' | '\'') => quote = Some(c),
                (None, ' ') => out.push(String::new()),
                (Some(q), c) if q == c => quote = None,
                _ => out.last_mut().unwrap().push(c),
            }
        }
        out
    }
}
