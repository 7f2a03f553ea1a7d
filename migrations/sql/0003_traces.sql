-- Where a case's spans hang (W3C trace context: identifiers without meaning), and what the relay counts for operators.
-- docs/adr/0016-tracing.md says why; tests/store/test_rights.py and tests/traces/ hold it.

-- Empty for cases that were opened while nobody traced. The form is checked: no text of a sender fits in.
ALTER TABLE case_file ADD COLUMN traceparent TEXT DEFAULT '' NOT NULL
    CHECK (traceparent = '' OR traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$');
GRANT SELECT (traceparent) ON case_file TO diwan_relay;

-- The relay counts what waits, in every ministry, and since when (which rows it sees: 0004_stuck.sql).
GRANT SELECT (created_at) ON task TO diwan_relay;
-- What was sent out about one case (`diwan case show --trace`).
CREATE INDEX outbox_case ON outbox (tenant, case_id);
