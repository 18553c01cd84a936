//! A copy of Postgres from the distribution's own packages, where that is apt's.
//!
//! They are downloaded and unpacked below the cache, not installed: it needs no root, starts no
//! service and leaves the machine's packages as they are. Debian's builds find their `share`
//! from where they are, so they can be moved; only the time zones are the machine's.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::{
    ClusterError, command::command, error::Doing, fetch::Unpacked, search::Wanted, user::run,
};

/// Links to the libraries that came along, in one directory.
const LIBRARIES: &str = "libraries";

/// Where unpacked packages have the programs, and where their libraries are gathered.
pub(super) fn layout(tree: &Path) -> Option<(PathBuf, PathBuf)> {
    let (_, bin) = releases(tree).pop()?;
    Some((bin, tree.join(LIBRARIES)))
}

/// The releases in the tree, oldest first.
fn releases(tree: &Path) -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir(tree.join("usr/lib/postgresql"));
    let mut found: Vec<(u32, PathBuf)> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("postgres").exists().then_some((major, bin))
        })
        .collect();
    found.sort();
    found
}

/// Downloads and unpacks the server below `work`, with whatever it needs that is not installed.
pub(super) fn unpack(
    work: &Path,
    wanted: Wanted,
    say: &mut dyn FnMut(&str),
) -> Result<Unpacked, ClusterError> {
    let package = match wanted {
        Wanted::Any => "postgresql".to_owned(),
        Wanted::Major(major) => format!("postgresql-{major}"),
    };
    let archives = work.join("archives");
    let partial = archives.join("partial");
    fs::create_dir_all(&partial).doing(|| format!("creating {partial:?}"))?;
    say(&format!("Fetching the package {package} by apt-get, this once; it is not installed"));
    let mut apt = command("apt-get");
    apt.args(["install", "-y", "-qq", "--download-only"])
        .args(["--no-install-recommends", "--reinstall"])
        // The lock is for installing, and only root may take it.
        .args(["-o", "Debug::NoLocking=1", "-o"])
        .arg(format!("Dir::Cache::archives={}", archives.display()))
        .arg(&package);
    run(&mut apt, || format!("downloading {package}"))?;

    let tree = work.join("tree");
    let downloaded = fs::read_dir(&archives).doing(|| format!("reading {archives:?}"))?;
    for archive in downloaded.flatten().map(|entry| entry.path()) {
        if archive.extension().is_some_and(|extension| extension == "deb") {
            let mut dpkg = command("dpkg");
            dpkg.arg("-x").args([&archive, &tree]);
            run(&mut dpkg, || format!("unpacking {archive:?}"))?;
        }
    }
    gather_libraries(&tree)?;
    let Some((major, _)) = releases(&tree).pop() else {
        return Err(ClusterError::Unusable {
            what: format!("what apt-get downloaded for {package}"),
            why: "there is no postgres in it".to_owned(),
        });
    };
    Ok(Unpacked { tree, major, from: "debian".to_owned() })
}

/// Links every library that came along into one directory, since that is what
/// `LD_LIBRARY_PATH` is given.
fn gather_libraries(tree: &Path) -> Result<(), ClusterError> {
    let libraries = tree.join(LIBRARIES);
    fs::create_dir_all(&libraries).doing(|| format!("creating {libraries:?}"))?;
    for parent in ["usr/lib", "lib"] {
        let Ok(entries) = fs::read_dir(tree.join(parent)) else {
            continue;
        };
        // Libraries lie below the machine's triplet, for example x86_64-linux-gnu.
        for triplet in entries.flatten().map(|entry| entry.file_name()) {
            if !triplet.to_string_lossy().contains("-linux-") {
                continue;
            }
            let below = Path::new(parent).join(&triplet);
            let files = fs::read_dir(tree.join(&below)).doing(|| format!("reading {below:?}"))?;
            for name in files.flatten().map(|entry| entry.file_name()) {
                let link = libraries.join(&name);
                if name.to_string_lossy().contains(".so") && link.symlink_metadata().is_err() {
                    symlink(Path::new("..").join(&below).join(&name), &link)
                        .doing(|| format!("linking {link:?}"))?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_gathered_and_the_newest_release_is_found() {
        let tree = std::env::temp_dir().join(format!("fake-debian-{}", std::process::id()));
        for major in ["9", "15"] {
            let bin = tree.join("usr/lib/postgresql").join(major).join("bin");
            fs::create_dir_all(&bin).unwrap();
            fs::write(bin.join("postgres"), "").unwrap();
        }
        let triplet = tree.join("usr/lib/x86_64-linux-gnu");
        fs::create_dir_all(&triplet).unwrap();
        fs::write(triplet.join("libpq.so.5.15"), "code").unwrap();
        fs::write(triplet.join("readme"), "").unwrap();
        gather_libraries(&tree).unwrap();

        let (bin, lib) = layout(&tree).unwrap();
        assert_eq!(bin, tree.join("usr/lib/postgresql/15/bin"));
        let gathered = fs::read_to_string(lib.join("libpq.so.5.15")).unwrap();
        assert_eq!(gathered, "code");
        assert_eq!(fs::read_dir(&lib).unwrap().count(), 1);
        fs::remove_dir_all(&tree).unwrap();
    }
}
