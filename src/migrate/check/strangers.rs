//! Whose code may run with whose rights: the one rule, and what is said of it.
//!
//! ```text
//!   owner of a table, or of what its expressions call
//!     a superuser, or our own role ...............................  no stranger
//!     a role that ours is a member of, where ours is not powerful .  no stranger
//!     named by --trust-owner, or --trust-all-owners ..............  told
//!     anybody else, our role not powerful ........................  told
//!     anybody else, our role powerful ............................  refused
//! ```
//!
//! A *powerful* role is one whose rights are all rights of the server: with these an expression of
//! a mere owner's would be the server's. It holds on each side for what is there; and for the
//! target also of the source's tables that are made there, since their expressions are first run
//! by the role that makes them. What may not run may not even be planned: nothing asks of the
//! tables themselves before. Pure; the asking is `owners`'.

use super::finding::{At, Findings, Side};
use crate::{
    catalog::{Owned, OwnedKind, Owners},
    migrate::{Failure, Trust},
};

/// The findings' word.
pub(super) const ABOUT: &str = "owners";

/// How many things a person is told by name.
const NAMED_MOST: usize = 5;

/// What both sides own.
#[derive(Debug)]
pub(super) struct Both<'a> {
    pub(super) source: &'a Owners,
    pub(super) target: &'a Owners,
    pub(super) trust: &'a Trust,
}

/// Whether a role that is not trusted would have its code run by one that is powerful or not.
pub(super) fn is_stranger(owned: &Owned, is_powerful: bool) -> bool {
    let is_ours = owned.is_superusers || owned.is_ours || !is_powerful && owned.is_of_member;
    !is_ours
}

impl Both<'_> {
    /// Judges all that was found.
    pub(super) fn judge(&self, findings: &mut Findings) {
        self.of_side(Side::Source, self.source, findings);
        self.of_side(Side::Target, self.target, findings);
        self.of_made(findings);
        self.of_texts(findings);
    }

    /// What belongs to strangers on a side, with the rights of our role there.
    fn of_side(&self, side: Side, owners: &Owners, findings: &mut Findings) {
        let of = |owned: &&Owned| is_stranger(owned, owners.is_powerful);
        let (trusted, strangers): (Vec<_>, Vec<_>) =
            owners.all.iter().filter(of).partition(|owned| self.trust.holds_for(&owned.owner));
        let at = At::new(side, ABOUT);
        let (role, word) = (&owners.role, side.as_str());
        if !strangers.is_empty() && owners.is_powerful {
            let what = format!(
                "code of {} would run with the rights of {role} on the {word}, which are all \
                 rights of that server: {}",
                names(&strangers),
                things(&strangers)
            );
            findings.refuse(at, Failure::refused(what, self.way_out(side, &strangers)));
        } else if strangers.is_empty() && trusted.is_empty() {
            let message = match owners.is_powerful {
                true => format!(
                    "no code of strangers runs with the rights of {role} on the {word}, which are \
                     all rights of that server"
                ),
                false => {
                    format!("no code of strangers runs with the rights of {role} on the {word}")
                }
            };
            findings.ok(at, message);
        } else {
            let all: Vec<_> = trusted.into_iter().chain(strangers).collect();
            let message = format!(
                "code of {} runs with the rights of {role} on the {word}: {}",
                names(&all),
                things(&all)
            );
            findings.ok(at, message);
        }
    }

    /// Tables that are made on the target: what their owners have written runs there as well.
    fn of_made(&self, findings: &mut Findings) {
        if !self.target.is_powerful {
            return;
        }
        let of = |owned: &&Owned| {
            let is_table = matches!(owned.kind, OwnedKind::Table | OwnedKind::Partition);
            is_table && owned.is_made && is_stranger(owned, true)
        };
        let (trusted, strangers): (Vec<_>, Vec<_>) =
            self.source.all.iter().filter(of).partition(|o| self.trust.holds_for(&o.owner));
        let at = At::both(ABOUT);
        let role = &self.target.role;
        if !strangers.is_empty() {
            let what = format!(
                "expressions of {} (checks, defaults, indexes ..) would be made on the target, and \
                 run with the rights of {role} there, which are all rights of that server: {}",
                names(&strangers),
                things(&strangers)
            );
            findings.refuse(at, Failure::refused(what, self.way_out(Side::Target, &strangers)));
        } else if !trusted.is_empty() {
            let message = format!(
                "expressions of {} are made on the target, and run with the rights of {role} \
                 there: {}",
                names(&trusted),
                things(&trusted)
            );
            findings.ok(at, message);
        }
    }

    /// Functions that expressions call: of the same name on the target, and what they do there.
    fn of_texts(&self, findings: &mut Findings) {
        let source = self.source.all.iter().filter(|owned| owned.is_made);
        let mut other: Vec<_> = source
            .filter(|ours| {
                let is_same = |theirs: &&Owned| {
                    theirs.kind == ours.kind && theirs.identity == ours.identity && theirs.is_made
                };
                let theirs = self.target.all.iter().find(is_same);
                let texts =
                    theirs.and_then(|theirs| Some((theirs.text.as_ref()?, ours.text.as_ref()?)));
                texts.is_some_and(|(theirs, ours)| theirs != ours)
            })
            .collect();
        other.dedup_by_key(|owned| &owned.identity);
        if other.is_empty() {
            return;
        }
        findings.warn(
            At::both(ABOUT),
            format!("other code under the same name on the target: {}", things(&other)),
            "compare them (\\sf of psql shows one): indexes, checks and generated columns of the \
             target follow its own",
        );
    }

    /// What to do instead, and how to go on.
    fn way_out(&self, side: Side, strangers: &[&Owned]) -> String {
        let options: Vec<_> = owners(strangers).into_iter().map(trust_option).collect();
        format!(
            "use a role for --{} that is neither superuser nor a member of \
             pg_execute_server_program, pg_write_server_files or pg_read_server_files \
             (docs/guide.md makes one). Or, if {} may do anything on that server: {}, or \
             --trust-all-owners",
            side.as_str(),
            names(strangers),
            options.join(" ")
        )
    }
}

/// The option that makes an owner trusted, as a shell takes it.
pub(in crate::migrate) fn trust_option(owner: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.@".contains(c);
    match owner.chars().all(is_plain) {
        true => format!("--trust-owner {owner}"),
        false => format!("--trust-owner '{}'", owner.replace('\'', "'\\''")),
    }
}

fn owners<'a>(owned: &[&'a Owned]) -> Vec<&'a str> {
    let mut owners: Vec<_> = owned.iter().map(|owned| owned.owner.as_str()).collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}

fn names(owned: &[&Owned]) -> String {
    listed(&owners(owned))
}

fn things(owned: &[&Owned]) -> String {
    let mut all: Vec<_> = owned.iter().map(|o| (o.kind, o.identity.as_str())).collect();
    all.sort_unstable();
    all.dedup();
    let all: Vec<_> =
        all.into_iter().map(|(kind, name)| format!("{} {name}", kind.as_str())).collect();
    listed(&all)
}

/// The first of them, and how many more there are.
fn listed(all: &[impl AsRef<str>]) -> String {
    let named: Vec<_> = all.iter().take(NAMED_MOST).map(AsRef::as_ref).collect();
    match all.len().saturating_sub(NAMED_MOST) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::{Finding, Severity};

    fn owned(kind: OwnedKind, name: &str, owner: &str) -> Owned {
        Owned {
            kind,
            schema: "m".into(),
            name: name.into(),
            identity: format!("m.{name}"),
            ordinal: None,
            is_made: false,
            text: None,
            owner: owner.into(),
            is_superusers: false,
            is_ours: false,
            is_of_member: false,
        }
    }

    fn table(owner: &str) -> Owned {
        owned(OwnedKind::Table, "t", owner)
    }

    fn side(is_powerful: bool, all: Vec<Owned>) -> Owners {
        Owners { role: "mover".into(), is_powerful, all }
    }

    fn judged(source: &Owners, target: &Owners, trust: &Trust) -> Vec<Finding> {
        let mut findings = Findings::for_check();
        Both { source, target, trust }.judge(&mut findings);
        findings.into_list()
    }

    fn refused(source: &Owners, target: &Owners, trust: &Trust) -> Vec<Side> {
        let all = judged(source, target, trust);
        all.iter().filter(|f| f.severity == Severity::Refused).map(|f| f.server).collect()
    }

    #[test]
    fn a_powerful_role_is_refused_strangers_and_any_other_is_told() {
        let nothing = || side(true, Vec::new());
        let nobody = Trust::default();
        for kind in [OwnedKind::Table, OwnedKind::Function, OwnedKind::Schema] {
            let with = |is_powerful| side(is_powerful, vec![owned(kind, "x", "mallory")]);
            assert_eq!(refused(&with(true), &nothing(), &nobody), [Side::Source]);
            assert_eq!(refused(&nothing(), &with(true), &nobody), [Side::Target]);
            assert_eq!(refused(&with(false), &with(false), &nobody), []);
            let told = judged(&with(false), &nothing(), &nobody);
            assert!(told.iter().any(|f| f.message.contains("code of mallory runs")), "{told:?}");
        }
        let one = side(true, vec![table("o'neill"), table("mallory")]);
        let told = judged(&one, &nothing(), &nobody);
        let hint = told[0].hint.as_deref().unwrap();
        assert!(hint.contains("--trust-owner mallory --trust-owner 'o'\\''neill'"), "{hint}");
    }

    #[test]
    fn who_is_trusted_is_told_and_not_refused() {
        let one = side(true, vec![table("mallory")]);
        let trust = |owners: &[&str], all| Trust {
            all,
            owners: owners.iter().map(|&owner| owner.to_owned()).collect(),
        };
        for trust in [trust(&["eve", "mallory"], false), trust(&[], true)] {
            assert_eq!(refused(&one, &one, &trust), []);
            assert!(judged(&one, &one, &trust)[0].message.contains("code of mallory runs"));
        }
        assert_eq!(refused(&one, &one, &trust(&["eve"], false)).len(), 2);
    }

    #[test]
    fn who_is_no_stranger() {
        let [mut superuser, mut ours, mut member] = [table("a"), table("b"), table("c")];
        (superuser.is_superusers, ours.is_ours, member.is_of_member) = (true, true, true);
        for (owned, powerful, other) in
            [(superuser, false, false), (ours, false, false), (member, true, false)]
        {
            assert_eq!((is_stranger(&owned, true), is_stranger(&owned, false)), (powerful, other));
        }
    }

    #[test]
    fn what_is_made_on_the_target_runs_with_its_roles_rights() {
        let mut made = table("app");
        (made.is_made, made.is_of_member) = (true, true);
        let nobody = Trust::default();
        let source = side(false, vec![made.clone()]);
        assert_eq!(refused(&source, &side(true, Vec::new()), &nobody), [Side::Both]);
        assert_eq!(refused(&source, &side(false, Vec::new()), &nobody), []);
        // Functions are looked for on the target by name.
        let function = Owned { is_made: true, ..owned(OwnedKind::Function, "f()", "app") };
        assert_eq!(refused(&side(false, vec![function]), &side(true, Vec::new()), &nobody), []);
        made.is_ours = true;
        assert_eq!(refused(&side(false, vec![made]), &side(true, Vec::new()), &nobody), []);
    }

    #[test]
    fn another_text_is_told() {
        let function = |text: &str| Owned {
            is_made: true,
            is_superusers: true,
            text: Some(text.into()),
            ..owned(OwnedKind::Function, "f()", "postgres")
        };
        let warned = |ours: &str, theirs: &str| {
            let (ours, theirs) =
                (side(true, vec![function(ours)]), side(true, vec![function(theirs)]));
            let all = judged(&ours, &theirs, &Trust::default());
            all.iter().filter(|f| f.severity == Severity::Warning).count()
        };
        assert_eq!((warned("a", "a"), warned("a", "b")), (0, 1));
    }

    #[test]
    fn a_long_list_is_cut() {
        let all: Vec<_> =
            (0..9).map(|n| owned(OwnedKind::Function, &format!("f{n}()"), "eve")).collect();
        let all: Vec<_> = all.iter().collect();
        let told = things(&all);
        assert!(told.ends_with("function m.f4() and 4 more"), "{told}");
    }
}
