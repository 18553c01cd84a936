//! What stands below the options in each command's `--help`. Text only.

/// Below the list of commands.
pub(super) const ALL: &str = "\
Exit codes:
  0  done (--then follow: stopped by SIGINT or SIGTERM, position stored)
  1  stopped by an error or an interruption; the same command goes on where it stopped
  2  refused; nothing was changed
  3  verify found rows that differ
  4  can't be resumed; nothing was touched

An error is three lines on stderr: what happened, what state things are in, what to do next.";

/// Of `pghost migrate`.
pub(super) const MIGRATE: &str = "\
Example:
  export GHOST_SOURCE='postgres://mover@old/shop' GHOST_TARGET='postgres://mover@new/shop'
  pghost migrate --table orders --table sales.item=archive.item

Passwords belong in GHOST_SOURCE and GHOST_TARGET, .pgpass or PGPASSWORD: every user of the
machine can read a process's arguments. An interrupted run goes on when the same command is given
again.";

/// Of `pghost check`.
pub(super) const CHECK: &str = "\
Takes the arguments of `pghost migrate`, and changes nothing on either server. What it finds is
told all at once, each with the SQL that mends it; then what the migration would make, statement
by statement, with the lock that each takes and on which server.

Exit codes:
  0  the migration could begin, with what is warned of
  2  something would be refused

Example:
  export GHOST_SOURCE='postgres://mover@old/shop' GHOST_TARGET='postgres://mover@new/shop'
  pghost check --table orders && pghost migrate --table orders";

/// Of `pghost demo`.
pub(super) const DEMO: &str = "\
Uses Postgres of this machine, or fetches it; nothing is installed, and no server that runs already
is touched. Both servers and their files are gone when it ends.";

/// Of `pghost status`.
pub(super) const STATUS: &str = "\
Reads the ledger on the target, asks the source too if it is named, and changes nothing.

Example:
  pghost status --target 'postgres://mover@new/shop' --json";

/// Of `pghost cleanup`.
pub(super) const CLEANUP: &str = "\
May be given twice. Until it has run, the slot makes the source keep its log.

Example:
  pghost cleanup --name orders --dry-run && pghost cleanup --name orders";

/// Of `pghost completions`.
pub(super) const COMPLETIONS: &str = "\
Example:
  pghost completions bash > ~/.local/share/bash-completion/completions/pghost
  pghost completions zsh > \"${fpath[1]}/_pghost\"
  pghost completions fish > ~/.config/fish/completions/pghost.fish";

/// Of `pghost man`.
pub(super) const MAN: &str = "\
Example:
  pghost man | man -l -
  pghost man migrate > /usr/local/share/man/man1/pghost-migrate.1";

/// Of `pghost verify`.
pub(super) const VERIFY: &str = "\
Both servers count and hash the rows of a page; of pages that differ the rows are looked at again
until it is known whether they do. Changes that are on their way are no differences as long as
somebody brings them: a running `pghost migrate --then follow` (--name), or a native subscription
(--slot). Exit code 3 if rows differ.

Takes the arguments of `pghost migrate`: the same command line or file serves both.

Example:
  export GHOST_SOURCE='postgres://mover@old/shop' GHOST_TARGET='postgres://mover@new/shop'
  pghost verify --name orders";
