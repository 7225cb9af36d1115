use super::*;

/// What makes a token recognisable without showing it.
fn hash(token: &Option<UserToken>) -> Option<runyard_types::Digest> {
    token.as_ref().map(UserToken::hash)
}

fn ca(name: &str) -> CertificateDer<'static> {
    let ca = runyard_transport::ca::Ca::create(name, std::time::SystemTime::now()).expect("a CA");
    ca.certificate().clone()
}

struct Setup {
    tokens: Vec<UserToken>,
    dir: tempfile::TempDir,
    paths: Paths,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().expect("tempdir");
    let paths = Paths {
        config: dir.path().join("user"),
        cache: dir.path().join("cache"),
        local: Some(dir.path().join("local")),
    };
    let contexts = Contexts::at(&paths.config);
    let context = |name: &str| contexts.path(&Name::new(name).expect("a name"));
    let tokens: Vec<UserToken> = (0..4).map(|_| UserToken::generate()).collect();
    for (file, address, token) in [
        (context("prod"), "prod:7443", &tokens[PROD]),
        (context("lab"), "lab:7443", &tokens[LAB]),
        (dir.path().join("local/dev.toml"), "127.0.0.1:7443", &tokens[DEV]),
    ] {
        let token = Some(token.clone());
        let credentials =
            CredentialsFile { addresses: vec![address.into()], ca: ca(address), token };
        credentials.save(&file).expect("writes");
    }
    Setup { tokens, dir, paths }
}

const PROD: usize = 0;
const LAB: usize = 1;
const DEV: usize = 2;
const OTHER: usize = 3;

impl Setup {
    fn resolve(&self, global: Global, config: Config, vars: &[(&str, &str)]) -> Result<Connection> {
        Connection::resolve(&global, &config, &self.paths, |name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }
}

fn context(name: &str) -> Config {
    Config { context: Some(name.into()), ..Config::default() }
}

#[test]
fn flag_environment_folder_user() {
    let s = setup();
    let file = s.dir.path().join("local/dev.toml");
    let dev = Config { credentials: Some(file), ..Config::default() };
    let token = |connection: Result<Connection>| hash(&connection.expect("resolves").token);
    let expected = |which: usize| Some(s.tokens[which].hash());
    let user = s.resolve(Global::default(), context("prod"), &[]);
    assert_eq!(user.as_ref().expect("resolves").addresses, ["prod:7443"]);
    assert_eq!(token(user), expected(PROD));
    assert_eq!(token(s.resolve(Global::default(), dev.clone(), &[])), expected(DEV));
    let environment = s.resolve(Global::default(), dev.clone(), &[("RUNYARD_CONTEXT", "prod")]);
    assert_eq!(token(environment), expected(PROD));
    let flag = Global { context: Some("lab".into()), ..Global::default() };
    assert_eq!(token(s.resolve(flag, dev, &[("RUNYARD_CONTEXT", "prod")])), expected(LAB));

    let contexts = Contexts::at(&s.paths.config);
    contexts.set_current(&Name::new("lab").expect("a name")).expect("sets");
    assert_eq!(token(s.resolve(Global::default(), Config::default(), &[])), expected(LAB));
    assert_eq!(token(s.resolve(Global::default(), context("prod"), &[])), expected(PROD));
}

#[test]
fn a_token_never_goes_to_another_address() {
    let s = setup();
    let other = ca("other");
    let file = s.dir.path().join("ca.pem");
    fs_err::write(&file, runyard_transport::certificate_to_pem(&other)).expect("write");
    let file = file.to_str().expect("UTF-8");
    let vars = [("RUNYARD_ADDRESS", "evil:7443"), ("RUNYARD_CA", file)];
    let connection = s.resolve(Global::default(), context("prod"), &vars).expect("resolves");
    assert_eq!(connection.addresses, ["evil:7443"]);
    assert_eq!(connection.ca, other);
    assert!(connection.token.is_none());

    let same = [("RUNYARD_ADDRESS", "prod:7443")];
    let connection = s.resolve(Global::default(), context("prod"), &same).expect("resolves");
    assert_eq!(hash(&connection.token), Some(s.tokens[PROD].hash()), "its own keeps its token");

    let mine = s.tokens[OTHER].expose();
    let own = [vars[0], vars[1], ("RUNYARD_TOKEN", mine.as_str())];
    let connection = s.resolve(Global::default(), context("prod"), &own).expect("resolves");
    assert_eq!(hash(&connection.token), Some(s.tokens[OTHER].hash()));
}

#[test]
fn a_cloned_repository_cannot_redirect_the_users_token() {
    let s = setup();
    // As a repository may bring them: a file that names a server, and credentials without a token.
    let evil = s.dir.path().join("local/evil.toml");
    let credentials =
        CredentialsFile { addresses: vec!["evil:7443".into()], ca: ca("evil"), token: None };
    credentials.save(&evil).expect("writes");
    let config = s.dir.path().join("local/config.toml");
    fs_err::write(&config, "credentials = 'evil.toml'").expect("writes");
    let folder = Config::load(&s.paths).expect("reads");

    let mine = s.tokens[OTHER].expose();
    let error = s
        .resolve(Global::default(), folder.clone(), &[("RUNYARD_TOKEN", &mine)])
        .expect_err("the token stays here");
    assert_eq!(error.kind, Kind::Auth);
    let text = error.render();
    assert!(text.contains("evil:7443") && text.contains("RUNYARD_TOKEN"), "{text}");
    assert!(!text.contains(&mine), "{text}");

    let file = s.dir.path().join("token");
    fs_err::write(&file, &mine).expect("writes");
    use std::os::unix::fs::PermissionsExt;
    fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let flag = Global { token_file: Some(file), ..Global::default() };
    let error = s.resolve(flag, folder.clone(), &[]).expect_err("nor from a file");
    assert!(error.render().contains("--token-file"), "{}", error.render());

    // Without a token of the user's, nothing of hers goes there.
    let plain = s.resolve(Global::default(), folder.clone(), &[]).expect("resolves");
    assert!(plain.token.is_none());
    // A context of the user's own that she names goes before the folder's file.
    let named = s
        .resolve(
            Global::default(),
            folder,
            &[("RUNYARD_CONTEXT", "prod"), ("RUNYARD_TOKEN", &mine)],
        )
        .expect("resolves");
    assert_eq!(named.addresses, ["prod:7443"]);
    assert_eq!(hash(&named.token), Some(s.tokens[OTHER].hash()));

    // What `runyard dev` writes has a token of its own: it is used, whatever the environment says.
    fs_err::write(&config, "credentials = 'dev.toml'").expect("writes");
    let dev = Config::load(&s.paths).expect("reads");
    let connection =
        s.resolve(Global::default(), dev, &[("RUNYARD_TOKEN", &mine)]).expect("resolves");
    assert_eq!(hash(&connection.token), Some(s.tokens[DEV].hash()));

    // A file of a folder may choose among the user's contexts.
    fs_err::write(&config, "context = 'lab'").expect("writes");
    let lab = Config::load(&s.paths).expect("reads");
    let connection = s.resolve(Global::default(), lab, &[]).expect("resolves");
    assert_eq!(hash(&connection.token), Some(s.tokens[LAB].hash()));
}

#[test]
fn what_is_missing_is_said_with_the_remedy() {
    let s = setup();
    let none = s.resolve(Global::default(), Config::default(), &[]).expect_err("no cluster");
    assert!(none.render().contains("runyard login"), "{}", none.render());
    let error = s.resolve(Global::default(), context("nope"), &[]).expect_err("no context");
    assert_eq!(error.kind, Kind::NotFound);
    let error = s.resolve(Global::default(), Config::default(), &[("RUNYARD_ADDRESS", "a:1")]);
    assert!(error.expect_err("no CA").render().contains("RUNYARD_CA"));
    let climb = s.resolve(Global::default(), context("../prod"), &[]).expect_err("is no name");
    assert_eq!(climb.kind, Kind::Usage);
    for bad in ["prod", "prod:99999", ":7443", "http://x/y:1", "u@h:1"] {
        assert!(split_addresses(bad).is_err(), "{bad}");
    }
}

#[test]
fn a41_a_context_or_token_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let s = setup();
    let readable = std::fs::Permissions::from_mode(0o644);
    let path = s.paths.config.join("contexts/prod.toml");
    fs_err::set_permissions(&path, readable.clone()).expect("chmod");
    let error = s.resolve(Global::default(), context("prod"), &[]).expect_err("is refused");
    assert_eq!(error.kind, Kind::Auth);
    assert!(!error.render().contains(&s.tokens[PROD].expose()));

    let file = s.dir.path().join("token");
    fs_err::write(&file, s.tokens[LAB].expose()).expect("write");
    fs_err::set_permissions(&file, readable).expect("chmod");
    let flag = Global { token_file: Some(file), ..Global::default() };
    let error = s.resolve(flag, context("lab"), &[]).expect_err("is refused");
    assert_eq!(error.kind, Kind::Auth);
    let text = error.render();
    assert!(text.contains("chmod 600") && !text.contains(&s.tokens[LAB].expose()), "{text}");
}

#[test]
fn a41_no_debug_text_or_error_shows_the_token() {
    let s = setup();
    let connection = s.resolve(Global::default(), context("prod"), &[]).expect("resolves");
    let token = s.tokens[PROD].expose();
    let secret = token.rsplit('_').next().expect("a secret").to_owned();
    assert!(!format!("{connection:?}").contains(&secret));
    let wrong = format!("{token}!");
    let error = s
        .resolve(Global::default(), context("prod"), &[("RUNYARD_TOKEN", &wrong)])
        .expect_err("is no token");
    assert_eq!(error.kind, Kind::Auth);
    assert!(!error.render().contains(&secret), "{}", error.render());
}
