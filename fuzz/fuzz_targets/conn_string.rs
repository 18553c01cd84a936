//! Connection strings and service files never panic; what is read can be printed and read again.
//!
//! Input: a connection string, then after a zero byte the text of a service file.

#![no_main]

use std::io;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pghost::config::{Config, FileText, Surroundings};

fuzz_target!(|data: &str| {
    let (dsn, service) = data.split_once('\0').unwrap_or((data, ""));
    let read_file = |path: &Path| {
        if path != Path::new("/service") {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(FileText {
            bytes: service.as_bytes().to_vec(),
            mode: 0o600,
            is_file: true,
        })
    };
    let env = |name: &str| match name {
        "PGSERVICEFILE" => Some("/service".to_owned()),
        _ => None,
    };
    let surroundings = Surroundings {
        env: &env,
        read_file: &read_file,
        exists: &|_| false,
        os_user: Some("os"),
        home: Some(Path::new("/home/os")),
    };
    match Config::parse(dsn, &surroundings) {
        Err(error) => drop(format!("{error} {error:?}")),
        Ok(config) => {
            assert!(!config.hosts.is_empty());
            assert!(config.hosts.iter().all(|host| host.port > 0));
            let _ = format!("{} {config:?}", config.describe());
            read_again(&config, &surroundings);
        }
    }
});

/// The texts of a configuration, printed as key=value.
fn read_again(config: &Config, surroundings: &Surroundings<'_>) {
    let password = config.password.as_ref();
    let password = password.map(|password| String::from_utf8_lossy(password.reveal()));
    let mut text = String::new();
    for (name, value) in [
        ("user", Some(config.user.as_str())),
        ("dbname", Some(config.dbname.as_str())),
        ("password", password.as_deref()),
        ("options", config.options.as_deref()),
        ("application_name", Some(config.application_name.as_str())),
    ] {
        if let Some(value) = value {
            let value = value.replace('\\', r"\\").replace('\'', r"\'");
            text.push_str(&format!("{name}='{value}' "));
        }
    }
    let again = Config::parse(&text, surroundings).expect("what was printed");
    assert_eq!(again.user, config.user);
    assert_eq!(again.dbname, config.dbname);
    assert_eq!(again.password, config.password);
    assert_eq!(again.options, config.options);
    assert_eq!(again.application_name, config.application_name);
}
