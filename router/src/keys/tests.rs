use super::*;

fn keys(text: &str) -> Result<Vec<(String, String)>, KeysError> {
    let pair = |key: TenantKey| (key.tenant.to_string(), key.key.expose().to_owned());
    Ok(TenantKey::parse_all(text)?.into_iter().map(pair).collect())
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    pairs.iter().map(owned).collect()
}

fn ring(text: &str) -> Ring {
    Ring::new(&TenantKey::parse_all(text).expect("valid keys"))
}

#[test]
fn lines_and_commas_separate_entries() {
    let text = "# keys\nacme:k1\n\n  globex : k:2 ,acme:k3,\n";
    let expected = pairs(&[("acme", "k1"), ("globex", "k:2"), ("acme", "k3")]);
    assert_eq!(keys(text).expect("valid"), expected);
    assert_eq!(keys(" \n# nothing\n").expect("valid"), vec![]);
}

#[test]
fn mistakes_name_the_line_and_never_the_text() {
    let long = format!("{}:k", "t".repeat(MAX_TENANT_BYTES + 1));
    for (entry, what) in [
        ("hunter2", "tenant:key"),
        (":hunter2", "name"),
        ("a b:hunter2", "name"),
        (long.as_str(), "name"),
        ("acme:", "no client could send"),
        ("acme:hunter2 x", "no client could send"),
        ("acme:hunter2\u{fc}", "no client could send"),
    ] {
        let error = keys(&format!("ok:fine\n{entry}"))
            .expect_err(entry)
            .to_string();
        assert!(
            error.starts_with("line 2: ") && error.contains(what),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn the_longest_name_and_the_most_keys_are_taken_and_one_more_is_not() {
    let name = "t".repeat(MAX_TENANT_BYTES);
    assert_eq!(keys(&format!("{name}:k")).expect("valid")[0].0, name);
    let many = |count: usize| (0..count).map(|n| format!("t:k{n}\n")).collect::<String>();
    assert_eq!(keys(&many(MAX_KEYS)).expect("valid").len(), MAX_KEYS);
    let error = keys(&many(MAX_KEYS + 1)).expect_err("one too many");
    assert!(
        error.to_string().contains("1001 keys, the limit is 1000"),
        "{error}"
    );
}

#[test]
fn a_key_belongs_to_its_tenant_and_nothing_else_does() {
    let ring = ring("acme:Key1\nglobex:Key2\nacme:Key3");
    let name = |key: &str| ring.tenant_of(key.as_bytes()).map(|t| t.to_string());
    assert_eq!(name("Key1").as_deref(), Some("acme"));
    assert_eq!(name("Key2").as_deref(), Some("globex"));
    assert_eq!(name("Key3").as_deref(), Some("acme"));
    for wrong in ["key1", "Key", "Key11", "", "acme", "acme:Key1", "Key1\0"] {
        assert_eq!(name(wrong), None, "{wrong:?}");
    }
    assert_eq!(Ring::default().tenant_of(b""), None);
}

#[test]
fn no_debug_text_shows_a_key() {
    let keys = TenantKey::parse_all("acme:hunter2").expect("valid");
    let text = format!("{keys:?} {:?}", Ring::new(&keys));
    assert!(text.contains("acme") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_file_that_became_wrong_leaves_the_keys_as_they_were() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("keys");
    let write = |text: &str| std::fs::write(&path, text).expect("it is written");
    write("acme:one");
    let keys = Keys {
        given: vec![TenantKey::of_default_tenant("zero").expect("valid")],
        file: Some(path.clone()),
        ring: RwLock::default(),
    };
    let known = |key: &str| keys.tenant_of(key.as_bytes()).map(|t| t.to_string());
    keys.reload().expect("valid");
    assert_eq!(
        (known("zero"), known("one")),
        (Some("default".into()), Some("acme".into()))
    );
    write("acme:two");
    keys.reload().expect("valid");
    assert_eq!((known("one"), known("two")), (None, Some("acme".into())));
    for wrong in ["", "# empty", "nonsense"] {
        write(wrong);
        let error = keys.reload().expect_err(wrong).to_string();
        assert!(error.contains("keys file"), "{error}");
        assert_eq!(known("two").as_deref(), Some("acme"));
    }
    std::fs::remove_file(&path).expect("it is there");
    assert!(matches!(keys.reload(), Err(KeysError::Unreadable { .. })));
}
