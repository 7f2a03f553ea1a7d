"""Documents that applicants send, read inside bounds; letters that go out, as tagged PDF."""
