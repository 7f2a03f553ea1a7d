-- An attempt of a model call that its engine failed says so, and every attempt at which host it was made.
ALTER TABLE model_call ADD COLUMN reason TEXT NOT NULL DEFAULT '';
ALTER TABLE model_call ADD COLUMN host TEXT NOT NULL DEFAULT '';
GRANT UPDATE (reason) ON model_call TO diwan_pool;

-- The hosts of the pool, one row each, written anew every few seconds. No tenant: a GPU serves every ministry of the
-- service, and the row says nothing of any. Row security is forced all the same: roles that are not named here see nothing.
CREATE TABLE pool_host (
    host TEXT NOT NULL,
    model TEXT NOT NULL,
    version TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    room INTEGER NOT NULL,
    most INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    running INTEGER NOT NULL,
    waiting INTEGER NOT NULL,
    kv_used DOUBLE PRECISION NOT NULL,
    prefix_queries BIGINT NOT NULL,
    prefix_hits BIGINT NOT NULL,
    since timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (host),
    CONSTRAINT pool_host_state CHECK (state IN ('serving', 'out', 'ended') AND (state = 'out') = (reason <> ''))
);
ALTER TABLE pool_host ENABLE ROW LEVEL SECURITY;
ALTER TABLE pool_host FORCE ROW LEVEL SECURITY;
CREATE POLICY of_no_tenant ON pool_host TO diwan_pool, diwan_web, diwan_worker, diwan_auditor USING (true) WITH CHECK (true);
GRANT SELECT ON pool_host TO diwan_pool, diwan_web, diwan_worker, diwan_auditor;
GRANT INSERT, UPDATE ON pool_host TO diwan_pool;
