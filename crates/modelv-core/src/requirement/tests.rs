use proptest::prelude::*;

use super::*;

fn version(text: &str) -> Version {
    Version::parse(text).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn versions_have_the_order_of_pep_440() {
    let order = [
        "1.dev0",
        "1.0.dev456",
        "1.0a1",
        "1.0a2.dev456",
        "1.0a12.dev456",
        "1.0a12",
        "1.0b1.dev456",
        "1.0b2",
        "1.0b2.post345.dev456",
        "1.0b2.post345",
        "1.0rc1.dev456",
        "1.0rc1",
        "1.0",
        "1.0+abc.5",
        "1.0+abc.7",
        "1.0+5",
        "1.0.post456.dev34",
        "1.0.post456",
        "1.0.15",
        "1.1.dev1",
        "1!0.1",
    ];
    for pair in order.windows(2) {
        assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
    }
    for (text, normal) in [
        ("v1.0", "1.0"),
        ("1.0-ALPHA.1", "1.0a1"),
        ("1.0c1", "1.0rc1"),
        ("1.0-preview_3", "1.0rc3"),
        ("1.0-1", "1.0.post1"),
        ("1.0-r4", "1.0.post4"),
        ("1.0.DEV", "1.0.dev0"),
        ("1.0+Ubuntu-1", "1.0+ubuntu.1"),
        ("01.02", "1.2"),
        ("1!2.0", "1!2.0"),
        ("1.0-post.", "1.0.post0"),
        ("1.0a-.dev", "1.0a0.dev0"),
        ("1.0a--1+x", "1.0a0.post1+x"),
        (" 1.0a ", "1.0a0"),
    ] {
        assert_eq!(version(text).to_string(), normal);
    }
    assert_eq!(version("1.0"), version("1.0.0"));
    for bad in [
        "",
        "a",
        "1.",
        "1.0.x",
        "1..0",
        "1.0+",
        "1.0+a..b",
        "1 0",
        "99999999999999999999",
    ] {
        assert!(Version::parse(bad).is_none(), "{bad}");
    }
}

#[test]
fn specifiers_hold_as_pep_440_says() {
    for (specifiers, yes, no) in [
        ("~=2.2", "2.9", "3.0"),
        ("~=2.2.0", "2.2.9", "2.3"),
        ("~=2.2.post3", "2.3", "2.2"),
        ("==1.5.*", "1.5rc1", "1.6"),
        ("==1.5.0.*", "1.5", "1.5.1"),
        ("!=1.5.*", "1.6", "1.5.3"),
        ("==1.5", "1.5+cpu", "1.5.1"),
        ("==1.5+cpu", "1.5+cpu", "1.5"),
        ("<2", "1.9", "2rc1"),
        ("<2rc2", "2rc1", "2rc2"),
        (">1.7", "1.7.1", "1.7.post1"),
        (">1.7.post1", "1.7.post2", "1.7"),
        (">=1,<2,!=1.5", "1.4", "1.5"),
        ("===1.0", "1.0", "1.0.0"),
    ] {
        let s = Specifiers::parse(specifiers).unwrap();
        assert!(s.contains(&version(yes)), "{specifiers} {yes}");
        assert!(!s.contains(&version(no)), "{specifiers} {no}");
    }
    for bad in [
        "=1",
        "1",
        "~=1",
        ">=1.*",
        "==1.0a1.*",
        ">=1+cpu",
        ">= ",
        "==1;",
    ] {
        assert!(Specifiers::parse(bad).is_none(), "{bad}");
    }
}

#[test]
fn demands_are_compared_where_both_can_hold() {
    for (a, b, agree) in [
        ("lib==1", "lib>=2", false),
        ("lib>=1", "lib<2", true),
        ("lib>1,<2", "lib==1.5.*", true),
        ("lib<1", "lib>1", false),
        ("lib<=1", "lib>=1", true),
        ("lib>1", "lib<1.0.1", true),
        ("lib>=1,<1.1", "lib!=1.0.*", false),
        ("lib~=1.4", "lib==2.*", false),
        (
            "lib==1 ; python_version<'3.9'",
            "lib==2 ; python_version>='3.9'",
            true,
        ),
        (
            "lib==1 ; python_version<'3.10'",
            "lib==2 ; python_version>='3.9'",
            false,
        ),
        (
            "lib==1 ; sys_platform=='win32'",
            "lib==2 ; os_name=='posix'",
            true,
        ),
        (
            "lib==1 ; sys_platform=='win32'",
            "lib==2 ; platform_system=='Windows'",
            false,
        ),
        ("lib==1 ; extra=='gpu'", "lib==2 ; extra=='cpu'", true),
        ("lib==1", "lib==2 ; sys_platform=='linux'", false),
        (
            "lib==1 ; python_version<'3' and python_version>'3'",
            "lib==2",
            true,
        ),
        ("lib @ https://x/1.whl", "lib==2", true),
        ("lib @ https://x/1.whl", "lib @ https://x/2.whl", false),
        ("lib===strange", "lib==2", true),
    ] {
        let [x, y] = [a, b].map(|t| Requirement::parse(t).unwrap());
        assert_eq!(x.agrees_with(&y), agree, "{a} and {b}");
        assert_eq!(y.agrees_with(&x), agree, "{b} and {a}");
    }
}

#[test]
fn requirements_are_read_as_pep_508_writes_them() {
    let r = Requirement::parse("Torch_Vision [Extra.B, a] (>=1, <2) ; python_version >= '3.9' and (os_name == 'nt' or extra == \"x\")").unwrap();
    assert_eq!(
        (r.name.as_str(), r.extras.as_slice()),
        ("torch-vision", ["a".into(), "extra-b".into()].as_slice())
    );
    assert!(r.specifiers.contains(&version("1.5")) && r.marker.is_some());
    let url = Requirement::parse("lib[x] @ https://h/a;b ; os_name == 'nt'").unwrap();
    assert_eq!(url.url.as_deref(), Some("https://h/a;b"));
    for bad in [
        "",
        "-r x",
        "lib=",
        "lib==",
        "./lib.whl",
        "lib >= 1 2",
        "lib; nonsense == 'x'",
        "lib[",
        "lib; 'a' == 'b'",
        "_x",
        "lib @ ",
    ] {
        assert!(Requirement::parse(bad).is_none(), "{bad}");
    }
    let deep = format!(
        "lib; {}os_name == 'a'{}",
        "(".repeat(100_000),
        ")".repeat(100_000)
    );
    assert!(Requirement::parse(&deep).is_none());
}

proptest! {
    #[test]
    fn a_witness_meets_all(a in "(==|!=|<|>|<=|>=)[0-3](\\.[0-3]){0,2}((a|rc)[01])?(\\.post[01])?(,(<|>|!=|>=)[0-3](\\.[0-3])?)?", b in "(==|~=|<|>|<=|>=)[0-3]\\.[0-3](\\.[0-3])?((a|rc)[01])?(\\.dev[01])?") {
        let (Some(a), Some(b)) = (Specifiers::parse(&a), Specifiers::parse(&b)) else {
            return Ok(());
        };
        let found = witness(&[&a, &b]);
        if let Some(v) = &found {
            prop_assert!(a.contains(v) && b.contains(v));
        }
        // Whatever a search over all small versions finds, is found.
        for x in 0..5 { for y in 0..5 { for z in 0..5 { for tail in ["", "a0", "rc1", ".post1", ".dev0"] {
            let v = version(&format!("{x}.{y}.{z}{tail}"));
            prop_assert!(found.is_some() || !(a.contains(&v) && b.contains(&v)), "{v}");
        }}}}
    }

    #[test]
    fn nothing_panics(text in "[a-z0-9.,;=<>!~@\\[\\]() '\"*+-]{0,40}") {
        if let Some(r) = Requirement::parse(&text) {
            let _ = r.agrees_with(&r);
        }
        if let Some(v) = Version::parse(&text) {
            prop_assert_eq!(&Version::parse(&v.to_string()).unwrap(), &v);
        }
    }
}

/// As `packaging` 26.3 has them.
#[test]
fn what_is_below_and_above_a_release_with_a_tail() {
    for (specifier, found, want) in [
        ("<2.1.post0", "2.1rc3", true),
        ("<2.1.post0", "2.1", true),
        ("<2.1.post0", "2.1.post0.dev0", false),
        ("<2.1.post1", "2.1.post0", true),
        ("<2.1", "2.1rc3", false),
        ("<2.1", "2.1.dev0", false),
        ("<2.1rc3", "2.1rc2", true),
        (">2.dev3", "2.post1", true),
        (">2a1", "2a1.post1", false),
        (">2a1", "2.post1", true),
        (">2", "2.post1", false),
        (">2.post1", "2.post2", true),
        (">2", "2+cpu", false),
    ] {
        let specifiers = Specifiers::parse(specifier).unwrap();
        assert_eq!(
            specifiers.contains(&version(found)),
            want,
            "{specifier} {found}"
        );
    }
}

#[test]
fn a_version_below_all_pre_releases_is_found() {
    let [a, b] = ["<=0.post0", "<0.0a0.dev0"].map(|s| Specifiers::parse(s).unwrap());
    let found = witness(&[&a, &b]).unwrap();
    assert!(a.contains(&found) && b.contains(&found), "{found}");
}
