//! Versions, specifiers, markers and requirements against `packaging`.

use modelv_core::requirement::{Marker, Requirement, Specifiers, Version, together, witness};
use serde_json::{Value, json};

use crate::support::{Random, ask, cases};

fn version(random: &mut Random) -> String {
    let mut out = String::new();
    if random.chance(5) {
        out.push_str("1!");
    }
    if random.chance(5) {
        out.push('v');
    }
    for i in 0..1 + random.below(3) {
        out.push_str(&format!(
            "{}{}",
            if i > 0 { "." } else { "" },
            random.below(4)
        ));
    }
    let tails: [(usize, &[&str]); 4] = [
        (
            25,
            &[
                "a0", "b1", "rc2", "-alpha.1", ".beta_2", "c1", "pre3", "_preview", "A",
            ],
        ),
        (20, &[".post0", "-1", ".rev2", "r3", "-post", "_POST1"]),
        (15, &[".dev0", "dev3", "-DEV2", ".dev"]),
        (10, &["+cpu", "+cu118.1", "+5", "+Ubuntu-1", "+a..b", "+"]),
    ];
    for (percent, all) in tails {
        if random.chance(percent) {
            out.push_str(random.pick::<&str>(all));
        }
    }
    if random.chance(3) {
        out.push_str(random.pick::<&str>(&["x", ".", " 1", "-", "!"]));
    }
    out
}

fn specifiers(random: &mut Random) -> String {
    let ops = ["==", "!=", ">=", "<=", "<", ">", "~=", "==", ">=", "==="];
    let parts: Vec<String> = (0..1 + random.below(2))
        .map(|_| {
            let (op, star) = (*random.pick(&ops), random.chance(15));
            let gap = if random.chance(20) { " " } else { "" };
            format!(
                "{op}{gap}{}{}",
                version(random),
                if star { ".*" } else { "" }
            )
        })
        .collect();
    parts.join(",")
}

fn marker(random: &mut Random, depth: usize) -> String {
    if depth < 2 && random.chance(35) {
        let word = random.pick(&["and", "or"]);
        let (a, b) = (marker(random, depth + 1), marker(random, depth + 1));
        return if random.chance(50) {
            format!("({a} {word} {b})")
        } else {
            format!("{a} {word} {b}")
        };
    }
    let (name, values): (&str, &[&str]) = *random.pick(&[
        ("python_version", ["3.8", "3.9", "3.10", "3"].as_slice()),
        ("python_full_version", &["3.9.1", "3.10.0"]),
        ("sys_platform", &["linux", "win32", "darwin"]),
        ("platform_system", &["Linux", "Windows"]),
        ("os_name", &["posix", "nt"]),
        ("platform_machine", &["x86_64", "arm64"]),
        ("extra", &["gpu", "Dev_x"]),
    ]);
    let text = name.starts_with("python");
    let ops: &[&str] = if text {
        &["<", "<=", ">", ">=", "==", "!="]
    } else {
        &["==", "!="]
    };
    let (op, value) = (random.pick(ops), random.pick(values));
    if random.chance(10) && !text {
        return format!("{name} in '{}'", values.join(" "));
    }
    format!("{name} {op} \"{value}\"")
}

#[test]
fn versions_and_specifiers_are_those_of_packaging() {
    let mut random = Random(440);
    let count = cases(1000);
    let all: Vec<[String; 4]> = (0..count)
        .map(|_| {
            [
                version(&mut random),
                version(&mut random),
                specifiers(&mut random),
                specifiers(&mut random),
            ]
        })
        .collect();
    let witnesses: Vec<Value> = all
        .iter()
        .map(|[_, _, a, b]| {
            let (Some(a), Some(b)) = (Specifiers::parse(a), Specifiers::parse(b)) else {
                return Value::Null;
            };
            witness(&[&a, &b]).map_or(json!(together(&[&a, &b])), |v| json!(v.to_string()))
        })
        .collect();
    let answers = ask(
        "versions.py",
        &json!({ "cases": all, "witnesses": witnesses }),
    );
    for (case, answer) in all.iter().zip(answers.as_array().unwrap()) {
        let [a, b, s, _] = case;
        let (va, vb) = (Version::parse(a), Version::parse(b));
        let normal = |v: &Option<Version>| v.as_ref().map_or(Value::Null, |v| json!(v.to_string()));
        assert_eq!(
            json!([normal(&va), normal(&vb)]),
            answer["normal"],
            "{case:?}"
        );
        let order = va.as_ref().zip(vb.as_ref()).map(|(a, b)| a.cmp(b) as i8);
        assert_eq!(json!(order), answer["order"], "{case:?}");
        let read = Specifiers::parse(s);
        assert_eq!(
            read.is_some(),
            answer["valid"].as_bool().unwrap(),
            "{case:?}"
        );
        let holds = read.zip(va).map(|(s, v)| s.contains(&v));
        assert_eq!(json!(holds), answer["holds"], "{case:?}");
        assert_eq!(
            answer["together"],
            json!(true),
            "a witness is none, or there is one: {case:?}"
        );
    }
}

#[test]
fn markers_and_requirements_are_those_of_packaging() {
    let mut random = Random(508);
    let environments = json!([
        {"python_version": "3.9", "python_full_version": "3.9.1", "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64", "extra": "gpu"},
        {"python_version": "3.10", "python_full_version": "3.10.0", "sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "x86_64", "extra": "dev-x"},
        {"python_version": "3.8", "python_full_version": "3.8.20", "sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64", "extra": ""},
    ]);
    let markers: Vec<String> = (0..cases(600)).map(|_| marker(&mut random, 0)).collect();
    let mut requirements: Vec<String> = (0..cases(400))
        .map(|_| {
            let name = random.pick(&["lib", "Lib_X.y", "a-b", "x", "_bad", "bad-", "1a"]);
            let extras = random.pick(&["", "[a]", "[B_c, a]", "[]", "["]);
            let tail = random.pick(&["", " ; ", ";"]);
            let marker = if tail.is_empty() {
                String::new()
            } else {
                marker(&mut random, 1)
            };
            let body = if random.chance(10) {
                " @ https://x/y;z".into()
            } else {
                specifiers(&mut random)
            };
            let body = if random.chance(10) {
                format!(" ({body})")
            } else {
                body
            };
            format!(
                "{name}{extras}{body}{}{marker}",
                if body.contains('@') && *tail == ";" {
                    " ;"
                } else {
                    tail
                }
            )
        })
        .collect();
    requirements.retain(|r| !r.contains("===") && !r.contains("(@") && !r.contains("( @"));
    let question =
        json!({ "markers": markers, "environments": environments, "requirements": requirements });
    let answers = ask("markers.py", &question);
    for (text, answer) in markers.iter().zip(answers["markers"].as_array().unwrap()) {
        let marker = Marker::parse(text).unwrap_or_else(|| panic!("{text}"));
        for (environment, holds) in environments
            .as_array()
            .unwrap()
            .iter()
            .zip(answer.as_array().unwrap())
        {
            let value = |name: &str| environment[name].as_str().unwrap_or("").to_owned();
            assert_eq!(
                json!(marker.holds(&value)),
                *holds,
                "{text} in {environment}"
            );
        }
        // What holds somewhere can hold.
        let somewhere = answer.as_array().unwrap().contains(&json!(true));
        assert!(!somewhere || marker.can_hold(), "{text}");
    }
    // Two that hold in one place meet.
    for pair in markers
        .chunks(2)
        .zip(answers["markers"].as_array().unwrap().chunks(2))
    {
        let ([a, b], [x, y]) = pair else { continue };
        let both = x
            .as_array()
            .unwrap()
            .iter()
            .zip(y.as_array().unwrap())
            .any(|(x, y)| *x == json!(true) && *y == json!(true));
        let meets = Marker::parse(a).unwrap().meets(&Marker::parse(b).unwrap());
        assert!(!both || meets, "{a} and {b}");
    }
    for (text, answer) in requirements
        .iter()
        .zip(answers["requirements"].as_array().unwrap())
    {
        let read = Requirement::parse(text);
        let ours = read.map_or(Value::Null, |r| {
            json!([r.name, r.extras, r.url, r.marker.is_some()])
        });
        assert_eq!(ours, *answer, "{text}");
    }
}
