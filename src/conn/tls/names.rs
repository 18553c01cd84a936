//! Whether a certificate names the host that we meant.
//!
//! As libpq's `pq_verify_peer_name_matches_certificate` and its helpers (`fe-secure-common.c`,
//! `fe-secure-openssl.c`), which is not what browsers do: the common name counts where there is no
//! alternative name of the host's kind, and a `*` stands for one whole label at the front.

use std::net::IpAddr;

use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
};

/// The names of a certificate, as far as they can be a host's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    dns: Vec<String>,
    ip: Vec<IpAddr>,
    common: Option<String>,
}

impl Names {
    /// Reads them off a certificate.
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut names = Self::default();
        for extension in certificate.extensions() {
            let ParsedExtension::SubjectAlternativeName(alternatives) =
                extension.parsed_extension()
            else {
                continue;
            };
            for name in &alternatives.general_names {
                match name {
                    GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
                    GeneralName::IPAddress(bytes) => names.ip.extend(address(bytes)),
                    _ => {}
                }
            }
        }
        let common = certificate.subject().iter_common_name().next();
        names.common = common.and_then(|name| name.as_str().ok()).map(str::to_owned);
        names
    }

    /// Whether one of them is the host's.
    pub(super) fn match_host(&self, host: &str) -> bool {
        let literal: Option<IpAddr> = host.parse().ok();
        // A name that looks like an address is compared as a name too, as libpq does it for
        // certificates that were made before they could hold addresses.
        let dns = self.dns.iter().any(|name| match_name(name, host));
        let ip = literal.is_some_and(|host| self.ip.contains(&host));
        let same_kind = if literal.is_some() { !self.ip.is_empty() } else { !self.dns.is_empty() };
        let common = self.common.as_ref().filter(|_| !same_kind);
        dns || ip || common.is_some_and(|name| match_name(name, host))
    }

    /// All of them, for an error; what a stranger wrote is escaped and cut.
    pub(super) fn describe(&self) -> String {
        const SHOWN: usize = 8;
        let addresses = self.ip.iter().map(ToString::to_string);
        let common = self.common.iter().map(|name| format!("CN={}", name.escape_debug()));
        let dns = self.dns.iter().map(|name| name.escape_debug().to_string());
        let all: Vec<_> = dns.chain(addresses).chain(common).collect();
        match all.len() {
            0 => "no host at all".to_owned(),
            n if n > SHOWN => {
                format!(
                    "{} and {} more",
                    all.get(..SHOWN).unwrap_or_default().join(", "),
                    n - SHOWN
                )
            }
            _ => all.join(", "),
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// A name of a certificate against a host: the same, or with a `*.` for its first label. A zero
/// byte in a name was an attack on those who stop reading there (CVE-2009-4034).
fn match_name(name: &str, host: &str) -> bool {
    if name.contains('\0') {
        return false;
    }
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(domain) = name.strip_prefix('*').filter(|rest| rest.starts_with('.')) else {
        return false;
    };
    // The `*` stands for at least one character, and not for more than one label.
    domain.len() > 1
        && host.split_once('.').is_some_and(|(label, rest)| {
            !label.is_empty()
                && domain.get(1..).is_some_and(|wanted| wanted.eq_ignore_ascii_case(rest))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dns: &[&str], ip: &[&str], common: Option<&str>) -> Names {
        Names {
            dns: dns.iter().map(|name| (*name).to_owned()).collect(),
            ip: ip.iter().map(|ip| ip.parse().unwrap()).collect(),
            common: common.map(str::to_owned),
        }
    }

    #[test]
    fn names_match_as_libpq_has_it() {
        let cases = [
            ("db.example.org", "db.example.org", true),
            ("DB.Example.ORG", "db.example.org", true),
            ("db.example.org", "db.example.net", false),
            ("*.example.org", "db.example.org", true),
            ("*.EXAMPLE.org", "db.example.org", true),
            ("*.example.org", "a.db.example.org", false),
            ("*.example.org", "example.org", false),
            ("*.example.org", ".example.org", false),
            ("*", "db", false),
            ("*.", "db.", false),
            ("d*.example.org", "db.example.org", false),
            ("db.*.org", "db.example.org", false),
            ("db.example.org\0.evil.org", "db.example.org", false),
            ("*.example.org\0.evil.org", "db.example.org", false),
            ("", "", true),
            ("", "db", false),
        ];
        for (name, host, matches) in cases {
            assert_eq!(match_name(name, host), matches, "{name:?} {host:?}");
        }
    }

    #[test]
    fn the_common_name_counts_only_without_an_alternative_of_the_hosts_kind() {
        let cases = [
            (names(&[], &[], Some("db")), "db", true),
            (names(&["other"], &[], Some("db")), "db", false),
            (names(&[], &["10.0.0.1"], Some("db")), "db", true),
            (names(&[], &["10.0.0.1"], Some("10.0.0.2")), "10.0.0.2", false),
            (names(&["other"], &[], Some("10.0.0.2")), "10.0.0.2", true),
            (names(&["db", "db2"], &[], None), "db2", true),
            (names(&[], &[], None), "db", false),
        ];
        for (names, host, matches) in cases {
            assert_eq!(names.match_host(host), matches, "{names:?} {host}");
        }
    }

    #[test]
    fn addresses_match_as_addresses() {
        let both = names(&[], &["10.0.0.1", "2001:db8::1"], None);
        for (host, matches) in [
            ("10.0.0.1", true),
            ("10.0.0.2", false),
            ("2001:db8::1", true),
            ("2001:DB8:0:0:0:0:0:1", true),
            ("::1", false),
            ("db", false),
        ] {
            assert_eq!(both.match_host(host), matches, "{host}");
        }
        assert!(names(&["10.0.0.1"], &[], None).match_host("10.0.0.1"), "an address as a name");
    }

    #[test]
    fn errors_show_the_names_and_not_too_many() {
        assert_eq!(names(&[], &[], None).describe(), "no host at all");
        let some = names(&["a\n"], &["::1"], Some("c"));
        assert_eq!(some.describe(), "a\\n, ::1, CN=c");
        let many: Vec<_> = (0..10).map(|n| n.to_string()).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(names(&many, &[], None).describe(), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
    }
}
