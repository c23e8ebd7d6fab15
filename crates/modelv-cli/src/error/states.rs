//! Hints by the words of a state in which a command can't be done.

/// What ends a state in which a command can't be done, by words of its message.
const STATE_HINTS: &[(&str, &str)] = &[
    (
        "named nothing before commit",
        "`modelv alias log NAME` tells what it has named; `modelv alias set NAME COMMIT -m WHY` moves it on",
    ),
    (
        "who commits",
        "`modelv config user.name \"Your Name\"` and `modelv config user.email you@example.org`",
    ),
    (
        "a run is under way in this working tree",
        "`modelv run --wait` waits for its end; a clone (`modelv clone . DIR`) is a working tree of its own, and so has \
         every point of a sweep",
    ),
    (
        "this working tree holds a part of them",
        "`modelv sparse disable` or `modelv fetch --add code,config,data` brings the rest; `modelv run --sweep` and \
         `modelv reproduce` take them all by themselves",
    ),
    (
        "this clone holds a part of what",
        "where the repository moved, `modelv remote remove NAME` and `modelv remote add NAME URL`; otherwise \
         `modelv fetch --unshallow` and `modelv fetch --add code,config,data,model` bring the rest first",
    ),
    (
        "was killed, and what it started still writes here",
        "end what is left of it with `kill PROCESS`, then try again",
    ),
    (
        "one of them is to go",
        "make the command a stage, `[stage.train]`, or take the stages out",
    ),
    (
        "which is a link to a folder",
        "make it a folder (a mount of the other disk, for example), or declare the folder it leads to if that is in \
         this tree",
    ),
    (
        "merge is not finished",
        "`modelv merge --continue` finishes it, `modelv merge --abort` gives it up",
    ),
    (
        "cherry-pick is not finished",
        "`modelv cherry-pick --continue` goes on, `--skip` leaves the commit out, `--abort` gives all up",
    ),
    (
        "revert is not finished",
        "`modelv revert --continue` goes on, `--skip` leaves the commit out, `--abort` gives all up",
    ),
    (
        "rebase is not finished",
        "`modelv rebase --continue` goes on, `--skip` leaves the commit out, `--abort` gives all up",
    ),
    (
        "say which parent",
        "`-m 1` takes the difference to its first parent, the branch it was merged into",
    ),
    (
        "that this working tree does not hold",
        "`modelv sparse disable`, or `modelv fetch --add INGREDIENT`, and again",
    ),
    (
        "lacks a part of the history",
        "`modelv fetch --unshallow` brings it, `modelv fetch --depth N` more of it",
    ),
    (
        "commits with one parent",
        "`modelv merge UPSTREAM` combines the branches, and keeps the merge",
    ),
    (
        "nothing is left of",
        "`--skip` leaves the commit out, `--abort` gives all up",
    ),
    (
        "need a message and a commit each",
        "name one commit with `--message` or `--no-commit`",
    ),
    (
        "which is not what was expected",
        "`modelv alias log NAME` shows who moved it; look before you move it again",
    ),
    (
        "no commit yet",
        "`modelv commit -m \"...\"` makes the first",
    ),
    (
        "one name on this file system",
        "rename one of them in a clone on a file system that tells them apart, and commit that",
    ),
    (
        "nothing is decided",
        "`--ours` or `--theirs` takes a side; or change the file, then `modelv resolve PATH`",
    ),
    (
        "conflict markers",
        "edit the file, then `modelv resolve PATH`",
    ),
    (
        "can't fast-forward",
        "without `--ff-only` they are merged; `modelv rebase REV` puts your commits on top",
    ),
    (
        "no bisection is under way",
        "`modelv bisect start BAD GOOD` begins one",
    ),
    (
        "a bisection is under way already",
        "`modelv bisect status` shows it, `modelv bisect reset` ends it",
    ),
    (
        "a bisection began there",
        "`modelv bisect reset` ends it and goes back there",
    ),
    (
        "bisect needs a bad commit",
        "`modelv bisect bad REV` and `modelv bisect good REV`",
    ),
    (
        "does not lie before bad commit",
        "`modelv bisect reset`, then `modelv bisect start BAD GOOD` with another pair",
    ),
    (
        "by the modelv.toml of",
        "take the code of a commit whose modelv.toml knows these files, or change it and commit first",
    ),
    (
        "lie over one another",
        "take the ingredients that share a path from one commit",
    ),
    (
        "nothing to compose",
        "`--data REV` and the others name whose ingredient is taken; `modelv branch NAME REV` only names a commit",
    ),
    ("no command given", "`modelv run -- python train.py`"),
    (
        "is not the environment of commit",
        "`--recreate` makes it again, `--env DIR` takes another all the same; `modelv env check COMMIT` lists what differs",
    ),
    ("could be repeated", "`modelv run` makes commits with a run"),
    (
        "has no model to make again",
        "`modelv run` makes one; `modelv log` marks commits without",
    ),
    (
        "is in more than one place",
        "name one of them: `--sweep params.toml:train.lr=VALUES`",
    ),
    (
        "in no configuration file, and the command",
        "`modelv track` shows which files are configuration, `FILE:KEY` names a key of any file; a flag of the \
         command takes a value as in `-- python train.py --lr {lr}`",
    ),
    (
        "has no stages",
        "for example:\n\n    [stage.train]\n    command = \"python train.py\"\n    inputs = [\"train.py\", \"data\"]\n    params = [\"train\"]\n    outputs = [\"models/model.joblib\"]",
    ),
    (
        "stages and a `[train] command`",
        "make it a stage, or name one to `modelv run -- COMMAND`",
    ),
    (
        "and no stage makes it",
        "bring it here, or declare it under `outputs` of the stage that writes it",
    ),
    (
        "configuration file",
        "`modelv track` shows which files are configuration; `FILE:KEY` names a key of any file",
    ),
];

pub(super) fn state_hint(text: &str) -> Option<String> {
    let found = STATE_HINTS.iter().find(|(part, _)| text.contains(part));
    found.map(|(_, hint)| (*hint).to_owned())
}
