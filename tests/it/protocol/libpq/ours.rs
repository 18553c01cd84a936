//! pghost's side: the settings read from a case's surroundings, and a session.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use pghost::{
    auth::AuthError,
    config::{Config, ConfigError, FileText, Origin, Surroundings, Warning},
    conn::{Connection, Error, SessionKind},
};
use tokio::time::timeout;

use super::{
    outcome::{Outcome, Refusal, SQL, Warned},
    stage::Inputs,
};

/// Far longer than a server of this machine takes.
const PATIENCE: Duration = Duration::from_mins(2);

pub(super) async fn run(inputs: &Inputs, os_user: &str) -> Outcome {
    let env = |name: &str| {
        let found = inputs.env.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    let home = env("HOME").unwrap();
    let surroundings = Surroundings {
        env: &env,
        read_file: &read_file,
        exists: &Path::exists,
        os_user: Some(os_user),
        home: Some(Path::new(&home)),
    };
    let config = match Config::parse(&inputs.dsn, &surroundings) {
        Ok(config) => config,
        Err(error) => {
            let (end, said) = (Err(refused_settings(&error)), error.to_string());
            return Outcome { end, warned: BTreeSet::new(), said };
        }
    };
    let warned = config.warnings.iter().map(warned).collect();
    let session = timeout(PATIENCE, answer(&config)).await;
    match session.unwrap_or_else(|_| panic!("{}: no end", inputs.dsn)) {
        Ok(answer) => Outcome { end: Ok(answer), warned, said: config.describe() },
        Err(error) => Outcome { end: Err(refused(&error)), warned, said: error.to_string() },
    }
}

async fn answer(config: &Config) -> Result<String, Error> {
    let mut connection = Connection::connect(config, SessionKind::Sql).await?;
    let result = connection.query(SQL).await;
    connection.close().await;
    let value = result?.row()?.values()[0].clone().unwrap_or_default();
    Ok(String::from_utf8(value.to_vec()).unwrap())
}

/// As `conn::surroundings` does it.
fn read_file(path: &Path) -> io::Result<FileText> {
    let metadata = fs::metadata(path)?;
    let is_file = metadata.is_file();
    let bytes = if is_file { fs::read(path)? } else { Vec::new() };
    Ok(FileText { bytes, mode: metadata.permissions().mode() & 0o7777, is_file })
}

fn warned(warning: &Warning) -> Warned {
    match warning {
        Warning::PasswordFileOpenToOthers(_) => Warned::OpenToOthers,
        Warning::PasswordFileNotPlain(_) => Warned::NotPlain,
        other => panic!("{other}"),
    }
}

fn refused_settings(error: &ConfigError) -> Refusal {
    match error {
        ConfigError::UnknownParameter { origin: Origin::ServiceFile { .. }, .. }
        | ConfigError::ServiceSyntax { .. } => Refusal::ServiceSyntax,
        ConfigError::UnknownParameter { .. } | ConfigError::UnknownAfterSecret { .. } => {
            Refusal::Unknown
        }
        ConfigError::Syntax { .. } => Refusal::Syntax,
        ConfigError::InvalidValue { .. } => Refusal::Value,
        ConfigError::ListLength { .. } => Refusal::Lists,
        ConfigError::ServiceNotFound(_) => Refusal::NoService,
        ConfigError::ServiceFile { .. } => Refusal::NoServiceFile,
        ConfigError::Contradiction(_) => Refusal::Contradiction,
        ConfigError::Unsupported { .. } => Refusal::CanNot,
        other => panic!("{other}"),
    }
}

fn refused(error: &Error) -> Refusal {
    match error {
        error if error.is_unreachable() => Refusal::Unreachable,
        Error::BothWays { first, .. } => refused(first),
        Error::Authentication(why) => match why {
            AuthError::MissingPassword => Refusal::NoPassword,
            AuthError::BindingNeedsTls | AuthError::BindingNotOffered(_) => Refusal::ChannelBinding,
            AuthError::CleartextUnprotected
            | AuthError::MethodNotAllowed { .. }
            | AuthError::NotAuthenticated => Refusal::Method,
            other => panic!("{other}"),
        },
        Error::Server(said) => match said.code.map(|code| code.to_string()).as_deref() {
            Some("28P01") => Refusal::WrongPassword,
            Some("3D000") => Refusal::NoDatabase,
            Some("28000") if said.message.contains("does not exist") => Refusal::NoRole,
            Some("28000") => Refusal::Shut,
            _ => Refusal::Server,
        },
        other => panic!("{other}"),
    }
}

/// The name of the user whom we run as, as the system's password database has it.
pub(super) fn os_user() -> String {
    let uid = fs::metadata("/proc/self").map(|meta| meta.uid());
    let said = std::process::Command::new("id").arg("-un").output().unwrap();
    let name = String::from_utf8(said.stdout).unwrap().trim().to_owned();
    assert!(!name.is_empty(), "no name for the user {uid:?}");
    name
}
