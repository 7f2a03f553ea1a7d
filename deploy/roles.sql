-- Roles for a ministry's own Postgres. Run once by an administrator, connected to the database made for Diwan:
--
--     createdb diwan
--     psql -d diwan -v ON_ERROR_STOP=1 -f roles.sql
--     psql -d diwan -c '\password diwan_owner'     (and each of the others; clients must use scram-sha-256)
--
-- Then `diwan migrate` as diwan_owner. Each process has its own role; none may skip row security, diwan_owner neither.

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY[
        'diwan_owner', 'diwan_web', 'diwan_worker', 'diwan_pool', 'diwan_relay', 'diwan_sequencer', 'diwan_auditor'
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOINHERIT', role);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role);
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CREATE ON DATABASE %I TO diwan_owner', current_database());
END $$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER SCHEMA public OWNER TO diwan_owner;
