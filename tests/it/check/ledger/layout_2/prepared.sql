CREATE SCHEMA pghost;
CREATE TABLE pghost.migration (
    name text NOT NULL,
    ledger_version integer NOT NULL,
    phase text NOT NULL,
    source_system_id text NOT NULL,
    source_timeline integer NOT NULL,
    source_database text NOT NULL,
    slot text NOT NULL,
    publication text NOT NULL,
    publication_made boolean NOT NULL,
    publication_shape text,
    slot_start_lsn pg_lsn,
    checkpoint_lsn pg_lsn,
    applied_lsn pg_lsn,
    skipped bigint DEFAULT 0 NOT NULL,
    longest_snapshot_seconds double precision DEFAULT 0 NOT NULL,
    backfill_seconds double precision DEFAULT 0 NOT NULL,
    catch_up_seconds double precision DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    PRIMARY KEY (name)) WITH (fillfactor=10);
CREATE TABLE pghost.migration_table (
    migration text NOT NULL,
    ordinal integer NOT NULL,
    source_schema text NOT NULL,
    source_name text NOT NULL,
    source_oid oid NOT NULL,
    target_schema text NOT NULL,
    target_name text NOT NULL,
    target_oid oid,
    target_made boolean DEFAULT false NOT NULL,
    key_columns text[] NOT NULL,
    key_order text NOT NULL,
    columns text[] NOT NULL,
    target_columns smallint[],
    shape text NOT NULL,
    backfilled boolean DEFAULT false NOT NULL,
    inserted bigint DEFAULT 0 NOT NULL,
    updated bigint DEFAULT 0 NOT NULL,
    deleted bigint DEFAULT 0 NOT NULL,
    truncated bigint DEFAULT 0 NOT NULL,
    PRIMARY KEY (migration, ordinal),
    FOREIGN KEY (migration) REFERENCES pghost.migration(name) ON DELETE CASCADE) WITH (fillfactor=10);
CREATE TABLE pghost.object (
    migration text NOT NULL,
    ordinal integer NOT NULL,
    "position" integer NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    statements text[] NOT NULL,
    done boolean DEFAULT false NOT NULL,
    skipped text,
    PRIMARY KEY (migration, ordinal, "position"),
    FOREIGN KEY (migration, ordinal) REFERENCES pghost.migration_table(migration, ordinal) ON DELETE CASCADE);
CREATE TABLE pghost.page (
    migration text NOT NULL,
    ordinal integer NOT NULL,
    number bigint NOT NULL,
    lower_bound text[],
    upper_bound text[],
    row_count bigint NOT NULL,
    byte_count bigint NOT NULL,
    snapshot text NOT NULL,
    lsn pg_lsn NOT NULL,
    PRIMARY KEY (migration, ordinal, number),
    FOREIGN KEY (migration, ordinal) REFERENCES pghost.migration_table(migration, ordinal) ON DELETE CASCADE);
INSERT INTO pghost.migration (name, ledger_version, phase, source_system_id, source_timeline, source_database, slot, publication, publication_made, publication_shape, slot_start_lsn, checkpoint_lsn, applied_lsn, skipped, longest_snapshot_seconds, backfill_seconds, catch_up_seconds, created_at)
    VALUES ('taken_up', '2', 'prepare', '7714170276403247414', '1', 'dies_0', 'pghost_taken_up', 'pghost_taken_up', 't', NULL, NULL, NULL, NULL, '0', '0', '0', '0', '2026-12-01 03:20:33.525997+00');
INSERT INTO pghost.migration_table (migration, ordinal, source_schema, source_name, source_oid, target_schema, target_name, target_oid, target_made, key_columns, key_order, columns, target_columns, shape, backfilled, inserted, updated, deleted, truncated)
    VALUES ('taken_up', '0', 'public', 'source', '16386', 'public', 'source', '16542', 't', '{id}', 'integer by OPERATOR("pg_catalog".<) ', '{id,n,v}', '{1,2,3}', 'ef5382edaebc9205dd9184a3f0b32de4 0f4f5bf18dc4229c016a41ae4fe24455 16386', 'f', '0', '0', '0', '0');
INSERT INTO pghost.migration_table (migration, ordinal, source_schema, source_name, source_oid, target_schema, target_name, target_oid, target_made, key_columns, key_order, columns, target_columns, shape, backfilled, inserted, updated, deleted, truncated)
    VALUES ('taken_up', '1', 'public', 'pair', '16396', 'public', 'pair', '16405', 'f', '{a,b}', 'text by bytes of UTF8 by OPERATOR("pg_catalog".<) pg_catalog."C", integer by OPERATOR("pg_catalog".<) ', '{a,b,v}', '{1,2,3}', '767cff6b382a4a3bb86903d7f54afde4 0f4f5bf18dc4229c016a41ae4fe24455 16396', 'f', '0', '0', '0', '0');
INSERT INTO pghost.object (migration, ordinal, "position", kind, name, statements, done, skipped)
    VALUES ('taken_up', '0', '0', 'key', 'source_pkey', E'{"ALTER TABLE \\"public\\".\\"source\\" ADD CONSTRAINT \\"source_pkey\\" PRIMARY KEY (id)"}', 'f', NULL);
INSERT INTO pghost.object (migration, ordinal, "position", kind, name, statements, done, skipped)
    VALUES ('taken_up', '0', '1', 'index', 'source_n_idx', E'{"CREATE INDEX \\"source_n_idx\\" ON \\"public\\".\\"source\\" USING btree (n)"}', 'f', NULL);
INSERT INTO pghost.object (migration, ordinal, "position", kind, name, statements, done, skipped)
    VALUES ('taken_up', '0', '2', 'check constraint', 'source_n_check', E'{"ALTER TABLE \\"public\\".\\"source\\" ADD CONSTRAINT \\"source_n_check\\" CHECK ((n > ''-1000''::integer)) NOT VALID"}', 'f', NULL);
INSERT INTO pghost.object (migration, ordinal, "position", kind, name, statements, done, skipped)
    VALUES ('taken_up', '0', '3', 'validation of constraint', 'source_n_check', E'{"ALTER TABLE \\"public\\".\\"source\\" VALIDATE CONSTRAINT \\"source_n_check\\""}', 'f', NULL);
INSERT INTO pghost.object (migration, ordinal, "position", kind, name, statements, done, skipped)
    VALUES ('taken_up', '0', '4', 'analyze', 'public.source', E'{"ANALYZE \\"public\\".\\"source\\""}', 'f', NULL);
INSERT INTO pghost.object (migration, ordinal, "position", kind, name, statements, done, skipped)
    VALUES ('taken_up', '1', '0', 'index', 'pair_v', E'{"SET LOCAL default_tablespace = ''''","CREATE INDEX \\"pair_v\\" ON \\"public\\".\\"pair\\" USING btree (v)"}', 'f', NULL);

