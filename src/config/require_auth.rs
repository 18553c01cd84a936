//! `require_auth`: by which methods a server may let us in.

use std::fmt;

/// A way in which a server can ask who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthMethod {
    /// Not at all (`trust`, `peer`, a client certificate).
    None,
    /// The password as it is.
    Password,
    /// The old salted hash.
    Md5,
    /// SCRAM-SHA-256, with or without channel binding.
    ScramSha256,
    /// Kerberos by GSSAPI. pghost can't.
    Gss,
    /// Kerberos by SSPI. pghost can't.
    Sspi,
    /// A bearer token. pghost can't.
    Oauth,
}

impl AuthMethod {
    /// Every method, in the order of libpq's documentation.
    pub const ALL: [Self; 7] = [
        Self::Password,
        Self::Md5,
        Self::Gss,
        Self::Sspi,
        Self::ScramSha256,
        Self::Oauth,
        Self::None,
    ];

    /// The word that `require_auth` has for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Password => "password",
            Self::Md5 => "md5",
            Self::ScramSha256 => "scram-sha-256",
            Self::Gss => "gss",
            Self::Sspi => "sspi",
            Self::Oauth => "oauth",
        }
    }
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The methods that are allowed.
///
/// <https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-CONNECT-REQUIRE-AUTH>
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RequireAuth {
    rule: Rule,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
enum Rule {
    #[default]
    Anything,
    OneOf(Vec<AuthMethod>),
    NoneOf(Vec<AuthMethod>),
}

impl RequireAuth {
    /// Reads a list such as `scram-sha-256,md5` or `!password,!md5`.
    ///
    /// As libpq's `pqConnectOptions2`: the two kinds can't be mixed, and no method stands twice.
    /// An empty list is no rule.
    pub fn parse(list: &str) -> Result<Self, String> {
        if list.is_empty() {
            return Ok(Self::default());
        }
        let mut methods = Vec::new();
        let mut negated_list = None;
        for item in list.split(',') {
            let (negated, word) = match item.strip_prefix('!') {
                Some(word) => (true, word),
                None => (false, item),
            };
            if *negated_list.get_or_insert(negated) != negated {
                return Err("methods with and without '!' can't be mixed".to_owned());
            }
            let Some(method) = AuthMethod::ALL.into_iter().find(|m| m.word() == word) else {
                let known = AuthMethod::ALL.map(AuthMethod::word).join(", ");
                return Err(format!("'{word}' is no method; the methods are {known}"));
            };
            if methods.contains(&method) {
                return Err(format!("'{word}' stands twice in it"));
            }
            methods.push(method);
        }
        let rule = match negated_list {
            Some(true) => Rule::NoneOf(methods),
            _ => Rule::OneOf(methods),
        };
        Ok(Self { rule })
    }

    /// Whether a server may use this method.
    #[must_use]
    pub fn allows(&self, method: AuthMethod) -> bool {
        match &self.rule {
            Rule::Anything => true,
            Rule::OneOf(methods) => methods.contains(&method),
            Rule::NoneOf(methods) => !methods.contains(&method),
        }
    }

    /// Whether the method was asked for by its name, not just left allowed.
    #[must_use]
    pub fn names(&self, method: AuthMethod) -> bool {
        matches!(&self.rule, Rule::OneOf(methods) if methods.contains(&method))
    }
}

/// The list as `require_auth` would write it; empty when there is no rule.
impl fmt::Display for RequireAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, methods) = match &self.rule {
            Rule::Anything => return Ok(()),
            Rule::OneOf(methods) => ("", methods),
            Rule::NoneOf(methods) => ("!", methods),
        };
        for (place, method) in methods.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{prefix}{method}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_allows_what_it_names_and_a_negated_one_the_rest() {
        let some = RequireAuth::parse("scram-sha-256,none").unwrap();
        assert!(some.allows(AuthMethod::ScramSha256) && some.allows(AuthMethod::None));
        assert!(!some.allows(AuthMethod::Password) && !some.allows(AuthMethod::Md5));
        let rest = RequireAuth::parse("!password,!md5").unwrap();
        assert!(!rest.allows(AuthMethod::Password) && !rest.allows(AuthMethod::Md5));
        assert!(rest.allows(AuthMethod::ScramSha256) && rest.allows(AuthMethod::None));
        assert!(RequireAuth::parse("").unwrap().allows(AuthMethod::Password));
    }

    #[test]
    fn only_a_positive_list_names_a_method() {
        let named = |list: &str| RequireAuth::parse(list).unwrap().names(AuthMethod::Password);
        assert!(named("password,md5"));
        assert!(!named("!md5"));
        assert!(!named("md5"));
        assert!(!named(""));
    }

    #[test]
    fn wrong_lists_are_refused() {
        for list in ["md5,!password", "!password,md5", "md5,md5", "!md5,!md5", "MD5", "md5,", ","] {
            assert!(RequireAuth::parse(list).is_err(), "{list}");
        }
    }

    #[test]
    fn a_list_prints_as_it_was_written() {
        for list in ["", "md5", "scram-sha-256,oauth,none", "!password,!md5,!gss,!sspi"] {
            assert_eq!(RequireAuth::parse(list).unwrap().to_string(), list);
        }
    }
}
