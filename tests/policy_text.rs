//! No text, however odd, crashes the reading of a policy, hangs it, or makes it eat memory.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use leeward::policy::{self, Severity};
use proptest::prelude::*;

const EXAMPLE: &str = include_str!("../policies/two-region-web.yaml");

/// What holds for every text.
fn check(text: &str) {
    let loaded = policy::load(text, "policy.yaml");
    assert_eq!(loaded, policy::load(text, "policy.yaml"), "the same text, read twice");
    match loaded {
        Ok((policy, warnings)) => {
            assert!(warnings.iter().all(|problem| problem.severity == Severity::Warning));
            assert!(policy.home_split().is_some());
            for region in policy.regions.values().filter(|region| !region.balancers.is_empty()) {
                let carried: f64 = region.balancers.iter().map(|b| b.carries.get()).sum();
                assert!((carried - 1.0).abs() < 0.01, "{carried}");
            }
        }
        Err(problems) => {
            assert!(problems.has_errors());
            assert!(problems.list.len() <= 100);
            let shown = problems.render(false);
            assert!(shown.len() <= 500_000, "{} bytes", shown.len());
            let control = |c: char| c.is_control() && c != '\n';
            assert!(!shown.contains(control), "{shown:?}");
            for place in problems.list.iter().filter_map(|problem| problem.place) {
                assert!(place.line >= 1 && place.column >= 1 && place.length >= 1);
                assert!(place.line <= text.matches('\n').count() + 1);
            }
        }
    }
}

/// A change that a slip of the hand, an editor or a template could make.
#[derive(Debug, Clone)]
enum Slip {
    Cut { from: usize, length: usize },
    Repeat { from: usize, length: usize },
    Insert { at: usize, text: String },
    Move { from: usize, length: usize, to: usize },
}

fn slips() -> impl Strategy<Value = Slip> {
    let place = 0..EXAMPLE.len();
    let pieces = prop::sample::select(vec![
        ": ",
        ":",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "!!str ",
        "<<: ",
        "\"",
        "'",
        "#",
        "|\n",
        ">\n",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "\t",
        "\r",
        "\n",
        "\n  ",
        "? ",
        "~",
        "null",
        "0",
        "-1",
        "1e400",
        "100%",
        "999999999999999999999",
        "5s",
        "\u{0}",
        "\u{feff}",
        "\u{2028}",
        "ß",
        "🜁",
        "{}",
        "[]",
    ]);
    let text = prop_oneof![pieces.prop_map(str::to_owned), any::<String>()];
    prop_oneof![
        (place.clone(), 1..60usize).prop_map(|(from, length)| Slip::Cut { from, length }),
        (place.clone(), 1..400usize).prop_map(|(from, length)| Slip::Repeat { from, length }),
        (place.clone(), text).prop_map(|(at, text)| Slip::Insert { at, text }),
        (place.clone(), 1..200usize, place).prop_map(|(from, length, to)| Slip::Move {
            from,
            length,
            to
        }),
    ]
}

fn slipped(text: &str, slip: &Slip) -> String {
    let letters: Vec<char> = text.chars().collect();
    let piece = |from: usize, to: usize| -> String {
        let (from, to) = (from.min(letters.len()), to.min(letters.len()));
        letters.get(from..to).unwrap_or_default().iter().collect()
    };
    let end = letters.len();
    match slip {
        Slip::Cut { from, length } => piece(0, *from) + &piece(from + length, end),
        Slip::Repeat { from, length } => piece(0, from + length) + &piece(*from, end),
        Slip::Insert { at, text } => piece(0, *at) + text + &piece(*at, end),
        Slip::Move { from, length, to } => {
            let moved = piece(*from, from + length);
            let rest: Vec<char> = (piece(0, *from) + &piece(from + length, end)).chars().collect();
            let to = (*to).min(rest.len());
            let (before, behind) = rest.split_at(to);
            before.iter().collect::<String>() + &moved + &behind.iter().collect::<String>()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_policy_after_some_slips_is_read_or_refused(slips in prop::collection::vec(slips(), 1..6)) {
        check(&slips.iter().fold(EXAMPLE.to_owned(), |text, slip| slipped(&text, slip)));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*|[ \\n:{}\\[\\],&*!|>'\"%#a-c0-9-]{0,400}") {
        check(&text);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = policy::load_bytes(&bytes, "policy.yaml");
    }
}

/// Found by the fuzz target: names of the file reached the terminal with their control characters.
#[test]
fn names_from_the_file_cannot_write_to_the_terminal() {
    let long = "x".repeat(3000);
    for name in ["\"eu\\e[2J\"", "\"eu\\twest\"", "\"a\\u2028b\"", "? eu\r\n  ", long.as_str()] {
        let text = EXAMPLE.replacen("  eu-west-1:\n", &format!("  {name}:\n"), 1);
        assert!(policy::load(&text, "policy.yaml").is_err(), "{name}");
        check(&text);
    }
}

/// Found by the fuzz target: the line before a byte that is not text was shown as it is.
#[test]
fn a_line_cannot_write_to_the_terminal() {
    for bytes in [&b"# \xc2\x9b2J\xff"[..], b"# \x1b[2J\xff", b"# a\rb\xff", b"a: \xc2\x85"] {
        let shown = policy::load_bytes(bytes, "policy.yaml").unwrap_err().render(false);
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
    }
}

/// Texts made to be expensive, each with the kind of problem that ends the reading.
fn monsters() -> Vec<(&'static str, String, &'static str)> {
    const FULL: usize = policy::BYTES_MAX - 1000;
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let inner = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{inner}]").unwrap();
    }
    let mut copies = format!("a: &a \"{}\"\n", "x".repeat(100_000));
    for copy in 0..200 {
        writeln!(copies, "b{copy}: *a").unwrap();
    }
    let mut anchors = "a: ".to_owned();
    (0..20).for_each(|level| write!(anchors, "&a{level} [").unwrap());
    anchors.push_str(&"x, ".repeat(FULL / 3 - 100));
    let mut unknown = String::new();
    (0..FULL / 32).for_each(|n| writeln!(unknown, "guards_misspelt_as_{n}: 1").unwrap());
    let mut regions = "regions:\n".to_owned();
    for n in 0..3000 {
        writeln!(regions, "  r{n}: {{ role: primary, weight: 1, balancers: {{ b{n}: {{}} }} }}")
            .unwrap();
    }
    let windows = "\"Fri 18:00-Mon 06:00 Europe/Munich\", ".repeat(FULL / 40);
    let records = "{ zone: Z1, name: a.b, types: [A], members: { x: y } }, ".repeat(2900);
    vec![
        ("alias bomb", bomb, "too-complex"),
        ("long text, many times", copies, "too-complex"),
        ("anchors in anchors", anchors, "too-complex"),
        ("nested lists", "[".repeat(FULL), "too-complex"),
        ("nested mappings", "a: {".repeat(FULL / 4), "too-complex"),
        (
            "nested blocks",
            (0..900).fold(String::new(), |t, n| t + &" ".repeat(n) + "a:\n"),
            "too-complex",
        ),
        ("dashes", "- ".repeat(FULL / 2), "too-complex"),
        ("one long line", "a".repeat(FULL), "wrong-shape"),
        ("one long quote", format!("service: \"{}", "a".repeat(FULL)), "syntax"),
        ("many commas", format!("[{}]", "a,".repeat(FULL / 2)), "too-complex"),
        ("comments", "#\n".repeat(FULL / 2), "empty"),
        ("empty lines", "\n".repeat(FULL), "empty"),
        ("question marks", "? ".repeat(FULL / 2), "unsupported"),
        ("exclamation marks", "!".repeat(FULL), "syntax"),
        ("per cent", format!("%{}", "A".repeat(FULL)), "syntax"),
        ("unknown fields", unknown, "unknown-field"),
        ("many regions", regions, "too-complex"),
        (
            "many windows",
            EXAMPLE.replace("blocked: [", &format!("blocked: [{windows}")),
            "too-complex",
        ),
        (
            "many records",
            EXAMPLE.replace(
                "      records:\n",
                &format!("      records: [{records}]\n      xrecords:\n"),
            ),
            "unknown-region",
        ),
        ("too large", "a".repeat(policy::BYTES_MAX + 1), "too-large"),
    ]
}

/// Runs `leeward check` with so much memory for data.
fn check_within(kibibytes: u32, file: &std::path::Path) -> (Option<i32>, String) {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -d {kibibytes} && exec \"$0\" check \"$1\""))
        .arg(env!("CARGO_BIN_EXE_leeward"))
        .arg(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

#[test]
fn a_monster_is_refused_within_64_mib() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monster.yaml");
    for (name, text, code) in monsters() {
        std::fs::write(&file, text).unwrap();
        let (exit, said) = check_within(64 * 1024, &file);
        assert_eq!(exit, Some(1), "{name}: {said}");
        assert!(said.contains(&format!("[{code}]")), "{name}: {said}");
    }
    // The limit is one: with a hundredth of it the same program does not get far.
    let (exit, _) = check_within(600, &file);
    assert_ne!(exit, Some(1));
}

/// In a debug build on a busy machine; a release build takes a tenth.
#[test]
#[expect(clippy::disallowed_methods, reason = "the time it takes is the subject")]
fn a_monster_is_refused_soon() {
    for (name, text, _) in monsters() {
        let begin = std::time::Instant::now();
        let problems = policy::load(&text, "monster.yaml").unwrap_err();
        let read = begin.elapsed();
        let shown = problems.render(false);
        eprintln!("{name}: {read:?}, shown after {:?}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(5), "{name}: {:?}", begin.elapsed());
        assert!(shown.len() < 500_000, "{name}");
    }
}
