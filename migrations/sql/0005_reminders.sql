-- When those who have a task were last reminded of it. Which reminders of a step went out stands in the case's state.
ALTER TABLE task ADD COLUMN reminded_at timestamptz;
