//! What the test knows of each column of each catalog that describes a table.

/// How a column is compared.
pub(super) enum How {
    /// By this expression, in which numbers of objects are replaced by their names; `""` for the
    /// column's own text.
    Same(&'static str),
    /// Not at all, for this reason; it stands in `docs/fine-print.md`.
    Irrelevant(&'static str),
}
use How::{Irrelevant, Same};

/// A catalog.
pub(super) struct Catalog {
    pub(super) name: &'static str,
    /// The release that has brought it.
    pub(super) since: u32,
    /// What a row is about, as an expression.
    pub(super) key: &'static str,
    /// Which rows describe a table of `$ns`.
    pub(super) scope: &'static str,
    pub(super) columns: &'static [(&'static str, How)],
}

pub(super) const SCHEMAS: &str = "('public'::regnamespace, 'elsewhere'::regnamespace)";

const OID: How = Irrelevant("numbers of objects, files and transactions");
const STATS: How = Irrelevant("what the server notes while it works");
const TYPE: How = Irrelevant("what follows from a column's type");
const DIMS: How = Irrelevant("the number of dimensions that an array was declared with");
const WHOLE: How = Irrelevant("what its definition says already");
const OWNER: How = Irrelevant("the owner, which `--target-owner` names");
const LOCAL: How = Irrelevant("whether a partition was made as one or attached");
const ROWTYPE: How = Irrelevant("what follows from the table, of the type of its rows");
const DATABASE: How = Irrelevant("what a database gives to all new tables");
const INTERNAL: How = Irrelevant("triggers by which the server carries out foreign keys");

pub(super) const REASONS: &[&str] = &[
    "numbers of objects, files and transactions",
    "what the server notes while it works",
    "what follows from a column's type",
    "the number of dimensions that an array was declared with",
    "what its definition says already",
    "the owner, which `--target-owner` names",
    "whether a partition was made as one or attached",
    "what follows from the table, of the type of its rows",
    "what a database gives to all new tables",
    "triggers by which the server carries out foreign keys",
];

const ACL: &str = "(SELECT string_agg(concat_ws(' ', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE
    pg_get_userbyid(grantee) END, privilege_type, is_grantable), ', ' ORDER BY grantee, privilege_type)
    FROM aclexplode(coalesce(x.relacl, acldefault(CASE x.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", x.relowner))))";
const COLUMN_ACL: &str =
    "(SELECT string_agg(concat_ws(' ', pg_get_userbyid(grantee), privilege_type, is_grantable),
    ', ' ORDER BY grantee, privilege_type) FROM aclexplode(x.attacl))";

macro_rules! of_tables {
    ($column:literal) => {
        concat!(
            "x.",
            $column,
            " IN (SELECT oid FROM pg_class WHERE relnamespace IN $ns AND relkind IN ('r', 'p'))"
        )
    };
}

pub(super) const CATALOGS: &[Catalog] = &[
    Catalog {
        name: "pg_class",
        since: 0,
        key: "concat_ws(' ', x.relkind, x.oid::regclass)",
        scope: "x.relnamespace IN $ns AND x.relkind <> 'c'",
        columns: &[
            ("oid", OID),
            ("relname", Same("")),
            ("relnamespace", Same("x.relnamespace::regnamespace")),
            ("reltype", OID),
            ("reloftype", Same("x.reloftype::regtype")),
            ("relowner", OWNER),
            ("relam", Same("(SELECT amname FROM pg_am a WHERE a.oid = x.relam)")),
            ("relfilenode", OID),
            (
                "reltablespace",
                Same("(SELECT spcname FROM pg_tablespace s WHERE s.oid = x.reltablespace)"),
            ),
            ("relpages", STATS),
            ("reltuples", STATS),
            ("relallvisible", STATS),
            ("relallfrozen", STATS),
            (
                "reltoastrelid",
                Same("(SELECT t.reloptions FROM pg_class t WHERE t.oid = x.reltoastrelid)"),
            ),
            ("relhasindex", Same("")),
            ("relisshared", Same("")),
            ("relpersistence", Same("")),
            ("relkind", Same("")),
            ("relnatts", OID),
            ("relchecks", Same("")),
            ("relhasrules", Same("")),
            ("relhastriggers", STATS),
            ("relhassubclass", STATS),
            ("relrowsecurity", Same("")),
            ("relforcerowsecurity", Same("")),
            ("relispopulated", Same("")),
            ("relreplident", Same("")),
            ("relispartition", Same("")),
            ("relrewrite", OID),
            ("relfrozenxid", OID),
            ("relminmxid", OID),
            ("relacl", Same(ACL)),
            ("reloptions", Same("(SELECT string_agg(o, ', ' ORDER BY o) FROM unnest(x.reloptions) o)")),
            ("relpartbound", Same("pg_get_expr(x.relpartbound, x.oid)")),
        ],
    },
    Catalog {
        name: "pg_attribute",
        since: 0,
        key: "concat_ws('.', x.attrelid::regclass, CASE WHEN x.attrelid IN (SELECT indexrelid FROM pg_index) \
              THEN x.attnum::text ELSE x.attname END)",
        scope: "x.attrelid IN (SELECT oid FROM pg_class WHERE relnamespace IN $ns AND relkind IN ('r', 'p', 'i', 'I')) \
                AND x.attnum > 0 AND NOT x.attisdropped",
        columns: &[
            ("attrelid", OID),
            ("attname", Same("CASE WHEN x.attrelid NOT IN (SELECT indexrelid FROM pg_index) THEN x.attname END")),
            ("atttypid", Same("format_type(x.atttypid, x.atttypmod)")),
            ("attstattarget", Same("nullif(x.attstattarget, -1)")),
            ("attlen", TYPE),
            (
                "attnum",
                Same("(SELECT count(*) FROM pg_attribute b WHERE b.attrelid = x.attrelid AND b.attnum > 0
                          AND b.attnum <= x.attnum AND NOT b.attisdropped)"),
            ),
            ("attndims", DIMS),
            ("attcacheoff", STATS),
            ("atttypmod", Same("")),
            ("attbyval", TYPE),
            ("attalign", TYPE),
            ("attstorage", Same("")),
            ("attcompression", Same("")),
            ("attnotnull", Same("")),
            ("atthasdef", Same("")),
            ("atthasmissing", STATS),
            ("attidentity", Same("")),
            ("attgenerated", Same("")),
            ("attisdropped", Same("")),
            ("attislocal", LOCAL),
            ("attinhcount", Same("")),
            ("attcollation", Same("x.attcollation::regcollation")),
            ("attacl", Same(COLUMN_ACL)),
            ("attoptions", Same("")),
            ("attfdwoptions", Same("")),
            ("attmissingval", STATS),
        ],
    },
    Catalog {
        name: "pg_attrdef",
        since: 0,
        key: "(SELECT concat_ws('.', x.adrelid::regclass, a.attname) FROM pg_attribute a \
               WHERE a.attrelid = x.adrelid AND a.attnum = x.adnum)",
        scope: of_tables!("adrelid"),
        columns: &[
            ("oid", OID),
            ("adrelid", OID),
            ("adnum", OID),
            ("adbin", Same("pg_get_expr(x.adbin, x.adrelid)")),
        ],
    },
    Catalog {
        name: "pg_index",
        since: 0,
        key: "x.indexrelid::regclass::text",
        scope: of_tables!("indrelid"),
        columns: &[
            ("indexrelid", Same("pg_get_indexdef(x.indexrelid)")),
            ("indrelid", Same("x.indrelid::regclass")),
            ("indnatts", Same("")),
            ("indnkeyatts", Same("")),
            ("indisunique", Same("")),
            ("indnullsnotdistinct", Same("")),
            ("indisprimary", Same("")),
            ("indisexclusion", Same("")),
            ("indimmediate", Same("")),
            ("indisclustered", Same("")),
            ("indisvalid", Same("")),
            ("indcheckxmin", STATS),
            ("indisready", Same("")),
            ("indislive", Same("")),
            ("indisreplident", Same("")),
            ("indkey", WHOLE),
            ("indcollation", WHOLE),
            ("indclass", WHOLE),
            ("indoption", Same("")),
            ("indexprs", Same("pg_get_expr(x.indexprs, x.indrelid)")),
            ("indpred", Same("pg_get_expr(x.indpred, x.indrelid)")),
        ],
    },
    Catalog {
        name: "pg_constraint",
        since: 0,
        key: "concat_ws('.', x.conrelid::regclass, x.conname)",
        scope: of_tables!("conrelid"),
        columns: &[
            ("oid", Same("pg_get_constraintdef(x.oid)")),
            ("conname", Same("")),
            ("connamespace", Same("x.connamespace::regnamespace")),
            ("contype", Same("")),
            ("condeferrable", Same("")),
            ("condeferred", Same("")),
            ("conenforced", Same("")),
            ("convalidated", Same("")),
            ("conrelid", Same("x.conrelid::regclass")),
            ("contypid", Same("x.contypid::regtype")),
            ("conindid", Same("x.conindid::regclass")),
            (
                "conparentid",
                Same("(SELECT concat_ws('.', p.conrelid::regclass, p.conname) FROM pg_constraint p
                        WHERE p.oid = x.conparentid)"),
            ),
            ("confrelid", Same("x.confrelid::regclass")),
            ("confupdtype", Same("")),
            ("confdeltype", Same("")),
            ("confmatchtype", Same("")),
            ("conislocal", Same("")),
            ("coninhcount", Same("")),
            // Of keys it says only whether the table was partitioned, or one, when they were made.
            ("connoinherit", Same("CASE WHEN x.contype IN ('c', 'n') THEN x.connoinherit END")),
            ("conperiod", Same("")),
            ("conkey", WHOLE),
            ("confkey", WHOLE),
            ("conpfeqop", Same("x.conpfeqop::regoperator[]")),
            ("conppeqop", Same("x.conppeqop::regoperator[]")),
            ("conffeqop", Same("x.conffeqop::regoperator[]")),
            ("confdelsetcols", WHOLE),
            ("conexclop", Same("x.conexclop::regoperator[]")),
            ("conbin", Same("pg_get_expr(x.conbin, x.conrelid)")),
        ],
    },
    Catalog {
        name: "pg_sequence",
        since: 0,
        key: "x.seqrelid::regclass::text",
        scope: "x.seqrelid IN (SELECT oid FROM pg_class WHERE relnamespace IN $ns)",
        columns: &[
            ("seqrelid", OID),
            ("seqtypid", Same("x.seqtypid::regtype")),
            ("seqstart", Same("")),
            ("seqincrement", Same("")),
            ("seqmax", Same("")),
            ("seqmin", Same("")),
            ("seqcache", Same("")),
            ("seqcycle", Same("")),
        ],
    },
    Catalog {
        name: "pg_trigger",
        since: 0,
        key: "concat_ws('.', x.tgrelid::regclass, x.tgname)",
        scope: concat!("NOT x.tgisinternal AND ", of_tables!("tgrelid")),
        columns: &[
            ("oid", Same("pg_get_triggerdef(x.oid)")),
            ("tgrelid", Same("x.tgrelid::regclass")),
            ("tgparentid", Same("(SELECT p.tgrelid::regclass FROM pg_trigger p WHERE p.oid = x.tgparentid)")),
            ("tgname", Same("")),
            ("tgfoid", Same("x.tgfoid::regprocedure")),
            ("tgtype", Same("")),
            ("tgenabled", Same("")),
            ("tgisinternal", INTERNAL),
            ("tgconstrrelid", Same("x.tgconstrrelid::regclass")),
            ("tgconstrindid", Same("x.tgconstrindid::regclass")),
            ("tgconstraint", OID),
            ("tgdeferrable", Same("")),
            ("tginitdeferred", Same("")),
            ("tgnargs", Same("")),
            ("tgattr", WHOLE),
            ("tgargs", Same("")),
            ("tgqual", WHOLE),
            ("tgoldtable", Same("")),
            ("tgnewtable", Same("")),
        ],
    },
    Catalog {
        name: "pg_policy",
        since: 0,
        key: "concat_ws('.', x.polrelid::regclass, x.polname)",
        scope: of_tables!("polrelid"),
        columns: &[
            ("oid", OID),
            ("polname", Same("")),
            ("polrelid", Same("x.polrelid::regclass")),
            ("polcmd", Same("")),
            ("polpermissive", Same("")),
            ("polroles", Same("x.polroles::regrole[]")),
            ("polqual", Same("pg_get_expr(x.polqual, x.polrelid)")),
            ("polwithcheck", Same("pg_get_expr(x.polwithcheck, x.polrelid)")),
        ],
    },
    Catalog {
        name: "pg_rewrite",
        since: 0,
        key: "concat_ws('.', x.ev_class::regclass, x.rulename)",
        scope: of_tables!("ev_class"),
        columns: &[
            ("oid", Same("pg_get_ruledef(x.oid)")),
            ("rulename", Same("")),
            ("ev_class", OID),
            ("ev_type", Same("")),
            ("ev_enabled", Same("")),
            ("is_instead", Same("")),
            ("ev_qual", WHOLE),
            ("ev_action", WHOLE),
        ],
    },
    Catalog {
        name: "pg_statistic_ext",
        since: 0,
        key: "concat_ws('.', x.stxnamespace::regnamespace, x.stxname)",
        scope: of_tables!("stxrelid"),
        columns: &[
            ("oid", Same("pg_get_statisticsobjdef(x.oid)")),
            ("stxrelid", Same("x.stxrelid::regclass")),
            ("stxname", Same("")),
            ("stxnamespace", Same("x.stxnamespace::regnamespace")),
            ("stxowner", OWNER),
            ("stxstattarget", Same("nullif(x.stxstattarget, -1)")),
            ("stxkeys", WHOLE),
            ("stxkind", Same("")),
            ("stxexprs", WHOLE),
        ],
    },
    Catalog {
        name: "pg_inherits",
        since: 0,
        key: "x.inhrelid::regclass::text",
        scope: "x.inhrelid IN (SELECT oid FROM pg_class WHERE relnamespace IN $ns)",
        columns: &[
            ("inhrelid", OID),
            ("inhparent", Same("x.inhparent::regclass")),
            ("inhseqno", Same("")),
            ("inhdetachpending", Same("")),
        ],
    },
    Catalog {
        name: "pg_partitioned_table",
        since: 0,
        key: "x.partrelid::regclass::text",
        scope: of_tables!("partrelid"),
        columns: &[
            ("partrelid", Same("pg_get_partkeydef(x.partrelid)")),
            ("partstrat", Same("")),
            ("partnatts", Same("")),
            ("partdefid", Same("x.partdefid::regclass")),
            ("partattrs", WHOLE),
            ("partclass", Same("")),
            ("partcollation", Same("")),
            ("partexprs", WHOLE),
        ],
    },
    Catalog {
        name: "pg_description",
        since: 0,
        key: "pg_describe_object(x.classoid, x.objoid, x.objsubid)",
        scope: "x.classoid IN ('pg_class'::regclass, 'pg_constraint'::regclass, 'pg_trigger'::regclass, \
                'pg_policy'::regclass, 'pg_statistic_ext'::regclass, 'pg_type'::regclass, 'pg_rewrite'::regclass) \
                AND x.objoid >= 16384 AND pg_describe_object(x.classoid, x.objoid, x.objsubid) !~ 'pghost|beside'",
        columns: &[
            ("objoid", OID),
            ("classoid", Same("x.classoid::regclass")),
            ("objsubid", OID),
            ("description", Same("")),
        ],
    },
    Catalog {
        name: "pg_seclabel",
        since: 0,
        key: "concat_ws(' ', x.provider, pg_describe_object(x.classoid, x.objoid, x.objsubid))",
        scope: "true",
        columns: &[
            ("objoid", OID),
            ("classoid", OID),
            ("objsubid", OID),
            ("provider", Same("")),
            ("label", Same("")),
        ],
    },
    Catalog {
        name: "pg_default_acl",
        since: 0,
        key: "x.oid::text",
        scope: "false",
        columns: &[
            ("oid", OID),
            ("defaclrole", DATABASE),
            ("defaclnamespace", DATABASE),
            ("defaclobjtype", DATABASE),
            ("defaclacl", DATABASE),
        ],
    },
    Catalog {
        name: "pg_init_privs",
        since: 0,
        key: "pg_describe_object(x.classoid, x.objoid, x.objsubid)",
        scope: "x.objoid >= 16384",
        columns: &[
            ("objoid", OID),
            ("classoid", OID),
            ("objsubid", OID),
            ("privtype", Same("")),
            ("initprivs", Same("")),
        ],
    },
    Catalog {
        name: "pg_publication_rel",
        since: 0,
        key: "(SELECT concat_ws(' ', p.pubname, x.prrelid::regclass) FROM pg_publication p WHERE p.oid = x.prpubid)",
        scope: "(SELECT p.pubname FROM pg_publication p WHERE p.oid = x.prpubid) NOT LIKE 'pghost%'",
        columns: &[
            ("oid", OID),
            ("prpubid", OID),
            ("prrelid", OID),
            ("prqual", Same("pg_get_expr(x.prqual, x.prrelid)")),
            ("prattrs", Same("")),
        ],
    },
    Catalog {
        name: "pg_publication_namespace",
        since: 15,
        key: "(SELECT concat_ws(' ', p.pubname, x.pnnspid::regnamespace) FROM pg_publication p WHERE p.oid = x.pnpubid)",
        scope: "true",
        columns: &[("oid", OID), ("pnpubid", OID), ("pnnspid", OID)],
    },
    Catalog {
        name: "pg_depend",
        since: 0,
        key: "concat_ws(' ', pg_describe_object(x.classid, x.objid, x.objsubid), x.deptype, \
              pg_describe_object(x.refclassid, x.refobjid, x.refobjsubid))",
        scope: "x.refclassid = 'pg_extension'::regclass AND x.objid >= 16384",
        columns: &[
            ("classid", OID),
            ("objid", OID),
            ("objsubid", OID),
            ("refclassid", OID),
            ("refobjid", OID),
            ("refobjsubid", OID),
            ("deptype", Same("")),
        ],
    },
    Catalog {
        name: "pg_type",
        since: 0,
        key: "x.oid::regtype::text",
        scope: of_tables!("typrelid"),
        columns: &[
            ("oid", OID),
            ("typname", Same("")),
            ("typnamespace", Same("x.typnamespace::regnamespace")),
            ("typowner", OWNER),
            ("typlen", ROWTYPE),
            ("typbyval", ROWTYPE),
            ("typtype", ROWTYPE),
            ("typcategory", ROWTYPE),
            ("typispreferred", ROWTYPE),
            ("typisdefined", ROWTYPE),
            ("typdelim", ROWTYPE),
            ("typrelid", OID),
            ("typsubscript", ROWTYPE),
            ("typelem", ROWTYPE),
            ("typarray", OID),
            ("typinput", ROWTYPE),
            ("typoutput", ROWTYPE),
            ("typreceive", ROWTYPE),
            ("typsend", ROWTYPE),
            ("typmodin", ROWTYPE),
            ("typmodout", ROWTYPE),
            ("typanalyze", ROWTYPE),
            ("typalign", ROWTYPE),
            ("typstorage", ROWTYPE),
            ("typnotnull", ROWTYPE),
            ("typbasetype", ROWTYPE),
            ("typtypmod", ROWTYPE),
            ("typndims", ROWTYPE),
            ("typcollation", ROWTYPE),
            ("typdefaultbin", ROWTYPE),
            ("typdefault", ROWTYPE),
            ("typacl", Same("")),
        ],
    },
];
