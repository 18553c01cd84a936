//! Certificates of every making, against what libpq says of them.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

use super::*;

/// A certificate of a test's own with its key.
struct Made {
    params: CertificateParams,
    key: KeyPair,
    der: CertificateDer<'static>,
}

/// Makes a certificate; `signer` of `None` signs itself.
fn make(
    names: &[&str],
    signer: Option<&Made>,
    change: impl FnOnce(&mut CertificateParams),
) -> Made {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "common.example.org");
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = match signer {
        None => params.self_signed(&key).unwrap(),
        Some(signer) => {
            params.signed_by(&key, &Issuer::from_params(&signer.params, &signer.key)).unwrap()
        }
    };
    Made { der: certificate.der().clone(), params, key }
}

fn authority(signer: Option<&Made>, name: &str) -> Made {
    make(&[], signer, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
    })
}

/// Noon of a day on which all certificates without dates of their own are valid.
fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000))
}

fn verdict(
    checks: Checks,
    roots: &[&CertificateDer<'static>],
    certificate: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Result<(), CertificateError> {
    let provider = rustls::crypto::ring::default_provider();
    let (roots, unusable) = Roots::new(roots.iter().map(|root| (*root).clone()).collect());
    assert_eq!(unusable, 0);
    let algorithms = provider.signature_verification_algorithms;
    Verifier { checks, roots, algorithms }.check(certificate, intermediates, now())
}

fn named(host: &str) -> Checks {
    Checks::ChainAndName(host.to_owned())
}

#[test]
fn a_certificate_of_a_trusted_root_for_this_host_is_taken() {
    let root = authority(None, "root");
    let server = make(&["db.example.org", "10.0.0.1"], Some(&root), |_| {});
    for host in ["db.example.org", "DB.example.ORG", "10.0.0.1"] {
        assert_eq!(verdict(named(host), &[&root.der], &server.der, &[]), Ok(()), "{host}");
    }
    let wrong = verdict(named("other.example.org"), &[&root.der], &server.der, &[]).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "the server's certificate is not for the host \"other.example.org\"; it names \
         db.example.org, 10.0.0.1, CN=common.example.org. Name the host as the certificate does \
         (with hostaddr for its address), or use sslmode=verify-ca"
    );
    assert_eq!(verdict(Checks::Chain, &[&root.der], &server.der, &[]), Ok(()));
    assert_eq!(verdict(named(""), &[&root.der], &server.der, &[]), Err(CertificateError::NoHost));
}

#[test]
fn the_common_name_serves_where_there_is_no_other() {
    let root = authority(None, "root");
    let server = make(&[], Some(&root), |_| {});
    assert_eq!(verdict(named("common.example.org"), &[&root.der], &server.der, &[]), Ok(()));
    let server = make(&["db.example.org"], Some(&root), |_| {});
    let refused = verdict(named("common.example.org"), &[&root.der], &server.der, &[]);
    assert!(matches!(refused, Err(CertificateError::WrongName { .. })));
}

#[test]
fn a_chain_needs_its_links() {
    let root = authority(None, "root");
    let between = authority(Some(&root), "between");
    let server = make(&["db"], Some(&between), |_| {});
    let links = std::slice::from_ref(&between.der);
    assert_eq!(verdict(Checks::Chain, &[&root.der], &server.der, links), Ok(()));
    assert!(verdict(Checks::Chain, &[&root.der], &server.der, &[]).is_err());
    // A link that may not vouch for others.
    let no_authority = make(&["between"], Some(&root), |_| {});
    let server = make(&["db"], Some(&no_authority), |_| {});
    let links = std::slice::from_ref(&no_authority.der);
    assert!(verdict(Checks::Chain, &[&root.der], &server.der, links).is_err());
}

#[test]
fn what_nobody_vouches_for_is_refused_unless_nothing_is_checked() {
    let (root, other) = (authority(None, "root"), authority(None, "root"));
    let server = make(&["db"], Some(&other), |_| {});
    // The other root has the same name, and another key.
    let refused = verdict(Checks::Chain, &[&root.der], &server.der, &[]).unwrap_err();
    assert!(matches!(refused, CertificateError::Untrusted(_)), "{refused}");
    assert_eq!(verdict(Checks::Nothing, &[], &server.der, &[]), Ok(()));
    assert!(verdict(Checks::Chain, &[], &server.der, &[]).is_err());
    let garbage = CertificateDer::from(b"\x30\x03no".to_vec());
    assert_eq!(verdict(Checks::Nothing, &[], &garbage, &[]), Err(CertificateError::Malformed));
}

#[test]
fn dates_count_also_those_of_the_root() {
    let old = |params: &mut CertificateParams| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    };
    let early = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2100, 1, 1);
    };
    let root = authority(None, "root");
    let text = |made: &Made, root: &Made| {
        verdict(Checks::Chain, &[&root.der], &made.der, &[]).unwrap_err().to_string()
    };
    assert!(text(&make(&["db"], Some(&root), old), &root).ends_with("it has expired"));
    assert!(text(&make(&["db"], Some(&root), early), &root).ends_with("it is not valid yet"));
    let old_root = make(&[], None, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        old(params);
    });
    let server = make(&["db"], Some(&old_root), |_| {});
    assert!(text(&server, &old_root).contains("that is valid today"));
}

#[test]
fn a_certificate_for_clients_is_no_servers() {
    let root = authority(None, "root");
    let client = make(&["db"], Some(&root), |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let refused = verdict(Checks::Chain, &[&root.der], &client.der, &[]).unwrap_err();
    assert!(refused.to_string().ends_with("it is not meant for servers"), "{refused}");
}

#[test]
fn a_self_signed_certificate_is_its_own_root() {
    // As `openssl req -new -x509` makes it: an authority, by its own word.
    let own = make(&["db"], None, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    assert_eq!(verdict(named("db"), &[&own.der], &own.der, &[]), Ok(()));
    assert!(verdict(named("other"), &[&own.der], &own.der, &[]).is_err());
    let other = authority(None, "other");
    assert!(verdict(Checks::Chain, &[&other.der], &own.der, &[]).is_err());
    // And one that does not say so.
    let plain = make(&["db"], None, |_| {});
    assert_eq!(verdict(named("db"), &[&plain.der], &plain.der, &[]), Ok(()));
    let old = make(&["db"], None, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    assert!(verdict(named("db"), &[&old.der], &old.der, &[]).is_err());
}

#[test]
fn a_certificate_without_extensions_is_taken_from_the_root_itself() {
    // Made by the commands of Postgres's documentation (OpenSSL 3.0), which give X.509 version 1.
    let root = CertificateDer::from(&include_bytes!("../testdata/v1-root.der")[..]);
    let server = CertificateDer::from(&include_bytes!("../testdata/v1-server.der")[..]);
    assert_eq!(verdict(named("db.example.org"), &[&root], &server, &[]), Ok(()));
    assert!(verdict(named("db"), &[&root], &server, &[]).is_err());
    let other = authority(None, "root");
    let refused = verdict(Checks::Chain, &[&other.der], &server, &[]).unwrap_err();
    assert!(refused.to_string().ends_with("no trusted root has signed it"), "{refused}");
    // One bit of the signature.
    let mut forged = server.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert!(verdict(Checks::Chain, &[&root], &forged.into(), &[]).is_err());
    // One letter of the name.
    let mut forged = server.to_vec();
    let at = forged.windows(2).rposition(|w| w == b"db").unwrap();
    forged[at] = b'x';
    assert!(verdict(Checks::Chain, &[&root], &forged.into(), &[]).is_err());
}

#[test]
fn who_is_trusted_itself_vouches_for_nobody() {
    // Two servers' own certificates among the roots: whoever has the key of one must not be able
    // to make a certificate for the other.
    let pinned = make(&["a"], None, |_| {});
    let forged = make(&["b"], Some(&pinned), |_| {});
    assert_eq!(verdict(named("a"), &[&pinned.der], &pinned.der, &[]), Ok(()));
    let refused = verdict(named("b"), &[&pinned.der], &forged.der, &[]).unwrap_err();
    assert!(matches!(refused, CertificateError::Untrusted(_)), "{refused}");
    // Nor may an authority that is not one to sign certificates.
    let root = make(&[], None, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
    });
    let server = make(&["db"], Some(&root), |_| {});
    assert!(verdict(Checks::Chain, &[&root.der], &server.der, &[]).is_err());
}
