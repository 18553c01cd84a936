//! Statements for the target, from definitions with hostile names.

use super::*;

fn name(schema: &str, name: &str) -> QualifiedName {
    QualifiedName::new(schema, name)
}

/// The statements of the objects of one kind.
fn statements(objects: &[Object], kind: ObjectKind) -> Vec<&str> {
    let of_kind = objects.iter().filter(|o| o.kind == kind);
    of_kind.flat_map(|o| &o.statements).map(String::as_str).collect()
}

fn built(extras: &Extras, names: &mut Names) -> Vec<Object> {
    let (source, target) = (name("public", "a ON b USING c"), name("s", "t"));
    let moved = [(name("public", "other"), name("s", "other2")), (source.clone(), target.clone())];
    objects(extras, (&source, &target), "key", &moved, names, 16)
}

#[test]
fn kinds_keep_their_names() {
    for (kind, name) in ObjectKind::ALL {
        assert_eq!(ObjectKind::parse(name), Some(kind));
        assert_eq!(kind.as_str(), name);
    }
}

#[test]
fn a_reference_is_found_behind_the_columns_and_nowhere_else() {
    let columns = r#""a) REFERENCES x.y(z", b"#;
    let definition = format!("FOREIGN KEY ({columns}) REFERENCES x.y(z, b) ON DELETE CASCADE");
    let split = split_reference(&definition, &["b", columns], "x.y").unwrap();
    let head = format!("FOREIGN KEY ({columns}) REFERENCES ");
    assert_eq!(split, (head, "(z, b) ON DELETE CASCADE".to_owned()));
    assert_eq!(split_reference(&definition, &[columns], "x.yy"), None);
    assert_eq!(split_reference(&definition, &[columns], "x."), None);
}

#[test]
fn names_that_are_taken_become_others_like_them() {
    let (source, target) = (name("public", "yolos"), name("public", "yolos2"));
    let mut names = Names::default();
    for taken in ["yolos_pkey", "odd", "yolos2_odd"] {
        names.take(&source.schema, taken.to_owned());
    }
    let mut choose = |wanted: &str| names.choose(wanted, &source, &target).as_str().to_owned();
    assert_eq!(choose("free"), "free");
    assert_eq!(choose("yolos_pkey"), "yolos2_pkey");
    assert_eq!(choose("yolos_pkey"), "yolos2_pkey1");
    assert_eq!(choose("odd"), "yolos2_odd1");
    let long = "ä".repeat(31);
    assert_eq!(choose(&long), long);
    let other = choose(&long);
    assert!(other.starts_with("yolos2_ä") && other.len() <= 63, "{other}");
}

#[test]
fn indexes_and_what_names_them_go_to_the_target() {
    let index = |name: &str| ExtraIndex { name: name.into(), ..ExtraIndex::default() };
    let extras = Extras {
        indexes: vec![
            ExtraIndex {
                using: "btree (x) WHERE (t = ' ON public.t USING '::text)".into(),
                comment: Some("it's".into()),
                clustered: true,
                ..index("i")
            },
            ExtraIndex {
                constraint: Some("PRIMARY KEY (id)".into()),
                options: Some("fillfactor = '70'".into()),
                unique: true,
                ..index("key")
            },
            ExtraIndex {
                constraint: Some("UNIQUE (n) DEFERRABLE".into()),
                options: Some("fillfactor = 6".into()),
                replica_identity: true,
                unique: true,
                ..index("u")
            },
        ],
        ..Extras::default()
    };
    let mut names = Names::default();
    names.take(&Ident::new("s"), "i".to_owned());
    let objects = built(&extras, &mut names);
    assert_eq!(
        statements(&objects, ObjectKind::Index),
        [
            "CREATE INDEX \"t_i\" ON \"s\".\"t\" USING btree (x) \
             WHERE (t = ' ON public.t USING '::text)",
            r#"COMMENT ON INDEX "s"."t_i" IS 'it''s'"#,
        ]
    );
    assert_eq!(
        statements(&objects, ObjectKind::Key),
        [r#"ALTER TABLE "s"."t" ADD CONSTRAINT "key" PRIMARY KEY (id) WITH (fillfactor = '70')"#]
    );
    assert_eq!(
        statements(&objects, ObjectKind::Unique),
        [r#"ALTER TABLE "s"."t" ADD CONSTRAINT "u" UNIQUE (n) WITH (fillfactor = 6) DEFERRABLE"#]
    );
    assert_eq!(
        statements(&objects, ObjectKind::Setting),
        [
            r#"ALTER TABLE "s"."t" CLUSTER ON "t_i""#,
            r#"ALTER TABLE "s"."t" REPLICA IDENTITY USING INDEX "u""#,
        ]
    );
    assert!(statements(&objects, ObjectKind::Comment).is_empty());
}

#[test]
fn constraints_are_added_without_a_look_and_then_validated() {
    let constraint = |name: &str, head: &str, reference: Option<(QualifiedName, String)>| {
        let (name, head) = (Ident::new(name), head.to_owned());
        ExtraConstraint { name, head, reference, validated: true, comment: None }
    };
    let head = "FOREIGN KEY (a) REFERENCES ";
    let extras = Extras {
        constraints: vec![
            constraint("c", "CHECK ((a > 0)) NO INHERIT", None),
            constraint("f", head, Some((name("public", "other"), "(id)".into()))),
            constraint("g", head, Some((name("public", "a ON b USING c"), "(id)".into()))),
            ExtraConstraint {
                validated: false,
                ..constraint("h", head, Some((name("x", "y"), "(id) NOT VALID".into())))
            },
            constraint("n", "CHECK ((a > 1)) NOT ENFORCED", None),
        ],
        ..Extras::default()
    };
    let objects = built(&extras, &mut Names::default());
    let add = r#"ALTER TABLE "s"."t" ADD CONSTRAINT"#;
    assert_eq!(
        statements(&objects, ObjectKind::Check),
        [
            format!(r#"{add} "c" CHECK ((a > 0)) NO INHERIT NOT VALID"#),
            format!(r#"{add} "n" CHECK ((a > 1)) NOT ENFORCED"#)
        ]
    );
    assert_eq!(
        statements(&objects, ObjectKind::ForeignKey),
        [
            format!(r#"{add} "f" FOREIGN KEY (a) REFERENCES "s"."other2"(id) NOT VALID"#),
            format!(r#"{add} "g" FOREIGN KEY (a) REFERENCES "s"."t"(id) NOT VALID"#),
            format!(r#"{add} "h" FOREIGN KEY (a) REFERENCES "x"."y"(id) NOT VALID"#),
        ]
    );
    let validate = r#"ALTER TABLE "s"."t" VALIDATE CONSTRAINT"#;
    assert_eq!(
        statements(&objects, ObjectKind::Validation),
        ["c", "f", "g"].map(|name| format!("{validate} \"{name}\""))
    );
}

#[test]
fn triggers_grants_and_comments_name_the_target() {
    let grant = |role: &str, privilege: &str, column: Option<&str>| ExtraGrant {
        role: role.into(),
        privilege: privilege.into(),
        column: column.map(Ident::new),
        grantable: column.is_some(),
    };
    let extras = Extras {
        triggers: vec![ExtraTrigger {
            name: Ident::new("x ON s.t"),
            constraint: false,
            events: r#"BEFORE UPDATE OF " ON public.t ""#.into(),
            rest: "FOR EACH ROW EXECUTE FUNCTION public.f(' ON public.t ')".into(),
            enabled: 'D',
            comment: None,
        }],
        grants: vec![
            grant("PUBLIC", "SELECT", None),
            grant("r", "MAINTAIN", None),
            grant("r", "UPDATE", Some("a\"b")),
        ],
        comments: vec![(None, "table".into()), (Some(Ident::new("c")), "column".into())],
        statistics: vec![ExtraStatistics {
            schema: "public".into(),
            name: "st".into(),
            of: " (mcv) ON a, \" FROM x\"".into(),
            target: Some(7),
            comment: None,
        }],
        ..Extras::default()
    };
    let objects = built(&extras, &mut Names::default());
    assert_eq!(
        statements(&objects, ObjectKind::Trigger),
        [
            "CREATE TRIGGER \"x ON s.t\" BEFORE UPDATE OF \" ON public.t \" ON \"s\".\"t\" \
             FOR EACH ROW EXECUTE FUNCTION public.f(' ON public.t ')",
            r#"ALTER TABLE "s"."t" DISABLE TRIGGER "x ON s.t""#,
        ]
    );
    assert_eq!(
        statements(&objects, ObjectKind::Grant),
        [
            r#"GRANT SELECT ON TABLE "s"."t" TO PUBLIC"#,
            r#"GRANT UPDATE ("a""b") ON TABLE "s"."t" TO r WITH GRANT OPTION"#,
        ]
    );
    assert_eq!(
        statements(&objects, ObjectKind::Comment),
        [r#"COMMENT ON TABLE "s"."t" IS 'table'"#, r#"COMMENT ON COLUMN "s"."t"."c" IS 'column'"#,]
    );
    assert_eq!(
        statements(&objects, ObjectKind::Statistics),
        [
            r#"CREATE STATISTICS "s"."st" (mcv) ON a, " FROM x" FROM "s"."t""#,
            r#"ALTER STATISTICS "s"."st" SET STATISTICS 7"#,
        ]
    );
}
