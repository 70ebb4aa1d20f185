//! A corpus of configuration files and what each gets.

use super::*;

fn refusal(text: &str) -> String {
    match parse(Path::new("m.toml"), text) {
        Ok(layer) => format!("accepted: {layer:?}"),
        Err(error) => crate::output::Failure::from(error).to_string(),
    }
}

#[test]
fn every_key_is_read() {
    let text = r#"
        state_dir = "/s"
        socket = "/s.sock"
        interface = "mesh1"
        listen = [51821, "[::1]:7"]
        advertise = "203.0.113.7"
        name = "gz"
        cidr = ["172.20.0.0/16", "fd00:20::/64"]
        accept = ["0.0.0.0/0"]
        metrics = "none"
        mtu = 1400
        lanes = 2
        offload = ["tso", "gso"]
        relay = false
        relay-limit = "100M"
        log = "debug"
        uapi-dir = "/u"
    "#;
    let layer = parse(Path::new("m.toml"), text).unwrap();
    assert_eq!(layer.listen.len(), 3);
    assert_eq!(layer.cidr[1].origin.to_string(), "m.toml:8");
    assert_eq!(layer.metrics.unwrap().value, None);
    assert_eq!(layer.mtu.unwrap().value, 1400);
    assert_eq!(layer.offload.unwrap().value.to_string(), "tso,gso");
    assert_eq!(layer.uapi_dir.unwrap().origin.to_string(), "m.toml:17");
    assert!(!layer.relay.unwrap().value);
    assert_eq!(layer.relay_limit.unwrap().value, Some(100_000_000));
}

#[test]
fn an_empty_file_gives_nothing() {
    assert_eq!(parse(Path::new("m.toml"), "").unwrap(), Layer::default());
    assert_eq!(
        parse(Path::new("m.toml"), "# only words\n\n").unwrap(),
        Layer::default()
    );
}

#[test]
fn unknown_keys_name_the_line_and_the_nearest_key() {
    assert_eq!(
        refusal("\nlisen = 1"),
        "m.toml:2: unknown key `lisen`; did you mean `listen`?"
    );
    assert_eq!(
        refusal("prefixes = []"),
        "m.toml:1: unknown key `prefixes`; did you mean `cidr`?"
    );
    assert_eq!(
        refusal("state-dirs = 'x'"),
        "m.toml:1: unknown key `state-dirs`; did you mean `state_dir`?"
    );
    assert!(
        refusal("password = 'x'").contains("unknown key `password`\n  fix: the known keys are state_dir")
    );
    assert!(refusal("[node]\nname = 'x'").starts_with("m.toml:1: unknown key `node`"));
}

#[test]
fn wrong_types_name_the_line() {
    assert_eq!(
        refusal("\n\nmtu = nan"),
        "m.toml:3: `mtu`: wants a text or a whole number, not the number nan"
    );
    assert_eq!(
        refusal("mtu = 1400.5"),
        "m.toml:1: `mtu`: wants a text or a whole number, not the number 1400.5"
    );
    assert_eq!(
        refusal("name = true"),
        "m.toml:1: `name`: wants a text or a whole number, not true"
    );
    assert_eq!(
        refusal("cidr = {}"),
        "m.toml:1: `cidr`: wants a text or a whole number, not a table"
    );
    assert_eq!(
        refusal("cidr = [[]]"),
        "m.toml:1: `cidr`: wants a text or a whole number, not a list inside a list"
    );
    assert_eq!(
        refusal("mtu = [1400, 1500]"),
        "m.toml:1: `mtu`: wants exactly one value"
    );
    assert_eq!(
        refusal("listen = []"),
        "m.toml:1: `listen`: wants at least one address"
    );
    assert!(refusal("mtu = 99999999999999999999999").starts_with("m.toml:1: "));
    assert!(refusal("relay = 'no'").contains("`no` is neither true nor false"));
    assert!(refusal("relay-limit = 'fast'").contains("such as 100M"));
    assert!(refusal("offload = ['tso', 'lro']").contains("`lro` is no offload"));
    assert!(refusal("lanes = -1").contains("write 1 to 8"));
}

#[test]
fn wrong_values_in_a_list_name_their_own_line() {
    assert_eq!(
        refusal("cidr = [\n  \"10.0.0.0/8\",\n  \"10.1.2.3/16\",\n]"),
        "m.toml:3: `cidr`: 10.1.2.3/16 has host bits: write 10.1.0.0/16"
    );
}

#[test]
fn broken_syntax_names_the_line() {
    assert!(refusal("name = \"gz\"\ncidr = [").starts_with("m.toml:2: "));
    assert!(refusal("name = \"gz\"\nname = \"gz\"").starts_with("m.toml:2: "));
    assert!(
        refusal("state_dir = '/a'\nstate-dir = '/b'").starts_with("m.toml:2: `state_dir`: stands here twice")
    );
    assert!(refusal("\u{0}").starts_with("m.toml:1: "));
}

#[test]
fn a_file_of_100_mb_is_refused_by_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.toml");
    File::create(&path).unwrap().set_len(100 << 20).unwrap();
    assert!(matches!(read(&path, false), Err(ConfigError::TooLarge { .. })));
}

#[test]
fn what_is_no_text_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.toml");
    std::fs::write(&path, b"name = \"gz\"\n\xff\xfe\n").unwrap();
    assert!(matches!(
        read(&path, false),
        Err(ConfigError::NotText { line: 2, .. })
    ));
    assert!(matches!(
        read(dir.path(), true),
        Err(ConfigError::Unreadable { .. })
    ));
}

mod fuzz {
    use proptest::prelude::*;

    use super::*;

    /// Valid lines, lines nearly valid, and noise, in any order.
    fn line() -> impl Strategy<Value = String> {
        let keys = Key::ALL.map(|key| key.as_str().to_owned());
        let key = prop_oneof![proptest::sample::select(keys.to_vec()), "[a-z_-]{0,12}"];
        let value = prop_oneof![
            Just("\"10.0.0.0/8\"".to_owned()),
            Just("51820".to_owned()),
            "[0-9a-fx._:/-]{0,20}",
            "\"[ -~]{0,20}\"",
            "\\[[0-9\", .:/a-f\\[\\]{}=]{0,30}\\]",
            "(-|\\+)?(nan|inf|[0-9]{1,30})",
            "\\PC{0,10}",
        ];
        prop_oneof![
            (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
            "\\PC{0,30}"
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_text_is_read_or_refused_with_file_and_line(lines in prop::collection::vec(line(), 0..6)) {
            let text = lines.join("\n");
            if let Err(error) = parse(Path::new("m.toml"), &text) {
                let told = crate::output::Failure::from(error).to_string();
                let place = told.strip_prefix("m.toml:").and_then(|rest| rest.split_once(':'));
                let line: usize = place.and_then(|(line, _)| line.parse().ok()).expect("a line is named");
                prop_assert!((1..=lines.len().max(1)).contains(&line), "{}", told);
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(?s).{0,400}") {
        let _read = parse(Path::new("m.toml"), &text);
    }

    #[test]
    fn no_slip_in_a_good_file_makes_the_parser_panic(at in 0_usize..200, with in proptest::char::any()) {
        let good = "name = 'gz'\ncidr = [\"10.0.0.0/8\", 'fd00::/8']\nmtu = 1400\nlisten = 51820\n";
        let text: String = good.chars().enumerate().map(|(i, c)| if i == at % good.len() { with } else { c }).collect();
        if let Err(error) = parse(Path::new("m.toml"), &text) {
            proptest::prop_assert!(error.to_string().starts_with("m.toml:"));
        }
    }
}
