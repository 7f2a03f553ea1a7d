-- What auditors search the ledger by. Beside the entries and filled after them, by whoever searches: casework waits for
-- no index (docs/adr/0025-an-index-that-searches-fill.md). All of it is in the entries' headers, and can be made anew.
CREATE TABLE ledger_index (
    tenant TEXT NOT NULL,
    shard TEXT NOT NULL,
    idx BIGINT NOT NULL,
    chain TEXT NOT NULL,
    seq BIGINT NOT NULL,
    at timestamptz NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    case_of TEXT NOT NULL,
    tool TEXT NOT NULL,
    model TEXT NOT NULL,
    procedure_hash TEXT NOT NULL,
    overridden BOOLEAN NOT NULL,
    PRIMARY KEY (tenant, shard, idx)
);
CREATE INDEX ledger_index_at ON ledger_index (tenant, at DESC, shard DESC, idx DESC);
CREATE INDEX ledger_index_kind ON ledger_index (tenant, kind, at DESC, shard DESC, idx DESC);
CREATE INDEX ledger_index_actor ON ledger_index (tenant, actor, at DESC, shard DESC, idx DESC);
CREATE INDEX ledger_index_case ON ledger_index (tenant, case_of, at DESC, shard DESC, idx DESC) WHERE case_of <> '';
CREATE INDEX ledger_index_tool ON ledger_index (tenant, tool, at DESC, shard DESC, idx DESC) WHERE tool <> '';
CREATE INDEX ledger_index_model ON ledger_index (tenant, model, at DESC, shard DESC, idx DESC) WHERE model <> '';
CREATE INDEX ledger_index_procedure ON ledger_index (tenant, procedure_hash, at DESC, shard DESC, idx DESC)
    WHERE procedure_hash <> '';
CREATE INDEX ledger_index_overridden ON ledger_index (tenant, at DESC, shard DESC, idx DESC) WHERE overridden;

-- How far into each year's log a ministry's entries are in it: all leaves before `reach`.
CREATE TABLE ledger_index_reach (
    tenant TEXT NOT NULL,
    shard TEXT NOT NULL,
    reach BIGINT NOT NULL,
    PRIMARY KEY (tenant, shard)
);

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['ledger_index', 'ledger_index_reach'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format(
            'CREATE POLICY of_tenant ON %I USING (tenant = nullif(current_setting(''diwan.tenant'', true), '''')) '
            'WITH CHECK (tenant = nullif(current_setting(''diwan.tenant'', true), ''''))', t);
    END LOOP;
END $$;
GRANT SELECT ON ledger_index, ledger_index_reach TO diwan_web, diwan_auditor;
GRANT INSERT ON ledger_index, ledger_index_reach TO diwan_web;
GRANT UPDATE (reach) ON ledger_index_reach TO diwan_web;
-- A search says how many entries have no place yet, and so are not found.
GRANT SELECT ON ledger_pending TO diwan_web;
