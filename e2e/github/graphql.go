package github

import (
	_ "embed" // for the schema
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
)

// The bounds of a query.
const (
	maxFirst = 100
	maxNodes = 500_000
	maxIDs   = 100
)

//go:embed schema.graphql
var schemaText string

// querySchema is what may be asked for.
type querySchema struct{ *ast.Schema }

func loadSchema() (*querySchema, error) {
	schema, err := validator.LoadSchema(validator.Prelude, &ast.Source{Name: "schema.graphql", Input: schemaText})
	if err != nil {
		return nil, fmt.Errorf("read the schema of GraphQL: %w", err)
	}
	return &querySchema{schema}, nil
}

// query is one query being answered, with the mutex of sim held.
type query struct {
	sim    *Sim
	token  *Token
	vars   map[string]any
	cost   int
	asked  int // how many connections are asked for
	nodes  int // how many nodes there may be at most
	bucket *bucket
	errors []fields
}

// serveGraphQL answers a query.
func (s *Sim) serveGraphQL(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	c := &call{Request: r, sim: s, body: body}
	s.mu.Lock()
	s.counts.routes[RouteGraphQL]++
	token, authErr := s.authenticate(r, HostAPI)
	c.token = token
	fault := s.fault(RouteGraphQL, "")
	a, done := c.decideQuery(fault, authErr)
	c.finish(&a)
	s.mu.Unlock()
	defer done()
	s.write(w, r, a, fault)
}

// decideQuery finds the answer, limits and faults included.
func (c *call) decideQuery(fault *Fault, authErr error) (answer, func()) {
	s := c.sim
	refusal, done := s.admit(c.token, c.Method, "graphql")
	if refusal != nil {
		return *refusal, done
	}
	b := s.bucket(c.token, "graphql")
	var a answer
	switch {
	case fault.replaces():
		a = fault.answer(budgetOf(c.token))
		b.used += fault.Points
		s.counts.points["graphql"] += fault.Points
		if fault.Primary != nil {
			a = rateLimited(budgetOf(c.token))
		}
	case authErr != nil:
		return problem(http.StatusUnauthorized, authErr.Error()), done
	case c.token == nil || c.token.app != nil:
		return problem(http.StatusUnauthorized, "This endpoint requires you to be authenticated."), done
	case c.Method != http.MethodPost:
		return notFound(), done
	default:
		a = c.query(b)
	}
	if s.limits.on {
		b.header(a.header, s.opts.Skew)
	}
	if fault != nil && fault.Primary != nil {
		a.header.Set("X-RateLimit-Remaining", "0")
	}
	return a, done
}

// rateLimited is how GraphQL says that the primary limit is reached.
func rateLimited(who string) answer {
	return ok(fields{"errors": []fields{{"type": "RATE_LIMITED", "message": "API rate limit exceeded for " + who + "."}}})
}

// query reads, checks and answers a query.
func (c *call) query(b *bucket) answer {
	var request struct {
		Query         string
		OperationName string
		Variables     map[string]any
	}
	if json.Unmarshal(c.body, &request) != nil {
		return problem(http.StatusBadRequest, "Problems parsing JSON")
	}
	doc, err := parser.ParseQuery(&ast.Source{Input: request.Query})
	if err != nil {
		return refused(err)
	}
	if errs := validator.ValidateWithRules(c.sim.schema.Schema, doc, nil); len(errs) > 0 {
		return refused(errs)
	}
	op := doc.Operations.ForName(request.OperationName)
	if op == nil {
		return refused(errors.New("An operation name is required"))
	}
	vars, err := validator.VariableValues(c.sim.schema.Schema, op, request.Variables)
	if err != nil {
		return refused(err)
	}
	q := &query{sim: c.sim, token: c.token, vars: vars, bucket: b}
	q.count(op.SelectionSet, 1)
	q.cost = max(1, (q.asked+50)/100)
	switch {
	case q.nodes > maxNodes:
		q.fail("MAX_NODE_LIMIT_EXCEEDED", nil, fmt.Sprintf("This query requests up to %d possible nodes which exceeds the maximum limit of 500,000.", q.nodes))
	case c.sim.limits.on && b.left() < q.cost:
		return rateLimited(budgetOf(c.token))
	case c.sim.opts.Heavy > 0 && q.asked > c.sim.opts.Heavy:
		// It was killed after 10 s, and is charged for them in addition.
		q.charge(2 * q.cost)
		return (&Fault{Status: http.StatusBadGateway}).answer("")
	}
	if len(q.errors) > 0 {
		return ok(fields{"errors": q.errors})
	}
	q.charge(q.cost)
	body := fields{"data": q.object(root{}, op.SelectionSet, nil)}
	if len(q.errors) > 0 {
		body["errors"] = q.errors
	}
	return ok(body)
}

// charge takes points from the primary limit.
func (q *query) charge(points int) {
	q.bucket.used += points
	q.sim.counts.points["graphql"] += points
}

// refused is the answer to a query that makes no sense.
func refused(err error) answer {
	var errs gqlerror.List
	var one *gqlerror.Error
	list := []fields{}
	switch {
	case errors.As(err, &errs):
		for _, e := range errs {
			list = append(list, fields{"message": e.Message, "extensions": fields{"code": e.Rule}, "locations": e.Locations})
		}
	case errors.As(err, &one):
		list = append(list, fields{"message": one.Message, "locations": one.Locations})
	default:
		list = append(list, fields{"message": err.Error()})
	}
	return ok(fields{"errors": list})
}

// fail adds an error to the answer.
func (q *query) fail(kind string, path []any, message string) {
	e := fields{"type": kind, "message": message}
	if len(path) > 0 {
		e["path"] = path
	}
	q.errors = append(q.errors, e)
}

// count counts what a selection asks for at most, for each of so many parents.
func (q *query) count(set ast.SelectionSet, parents int) {
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.InlineFragment:
			q.count(s.SelectionSet, parents)
		case *ast.FragmentSpread:
			q.count(s.Definition.SelectionSet, parents)
		case *ast.Field:
			n := parents
			args := s.ArgumentMap(q.vars)
			if s.Definition != nil && strings.HasSuffix(s.Definition.Type.Name(), "Connection") {
				q.asked += parents
				n = parents * min(maxFirst, max(number(args["first"]), number(args["last"])))
				q.nodes += n
			} else if ids, is := args["ids"].([]any); is {
				n = parents * len(ids)
			}
			q.count(s.SelectionSet, n)
		}
	}
}

// number reads an argument that is a number, from the query or from its variables;
// 0 if there is none.
func number(arg any) int {
	switch n := arg.(type) {
	case int64:
		return int(n)
	case float64:
		return int(n)
	default:
		return 0
	}
}

// object answers a selection of an object's fields.
func (q *query) object(value any, set ast.SelectionSet, path []any) fields {
	result := fields{}
	q.fill(result, value, set, path)
	return result
}

func (q *query) fill(result fields, value any, set ast.SelectionSet, path []any) {
	kind := typeName(value)
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.InlineFragment:
			if q.skipped(s.Directives) || s.TypeCondition != "" && !q.is(kind, s.TypeCondition) {
				continue
			}
			q.fill(result, value, s.SelectionSet, path)
		case *ast.FragmentSpread:
			if q.skipped(s.Directives) || !q.is(kind, s.Definition.TypeCondition) {
				continue
			}
			q.fill(result, value, s.Definition.SelectionSet, path)
		case *ast.Field:
			if q.skipped(s.Directives) {
				continue
			}
			here := append(path[:len(path):len(path)], s.Alias)
			var field any = kind
			if s.Name != "__typename" {
				field = q.complete(q.field(value, s.Name, s.ArgumentMap(q.vars), here), s.SelectionSet, here)
			}
			// The same object may be asked for in two places: all that was wanted is in it.
			if old, is := result[s.Alias].(fields); is {
				if more, is := field.(fields); is {
					for name, v := range more {
						old[name] = v
					}
					continue
				}
			}
			result[s.Alias] = field
		}
	}
}

// complete answers the selection of what a field is.
func (q *query) complete(value any, set ast.SelectionSet, path []any) any {
	if list, is := value.([]any); is {
		results := make([]any, len(list))
		for i, one := range list {
			results[i] = q.complete(one, set, append(path[:len(path):len(path)], i))
		}
		return results
	}
	if value == nil || len(set) == 0 {
		return value
	}
	return q.object(value, set, path)
}

// skipped tells whether @skip or @include leave a selection out.
func (q *query) skipped(directives ast.DirectiveList) bool {
	for _, d := range directives {
		yes, _ := d.ArgumentMap(q.vars)["if"].(bool)
		if d.Name == "skip" && yes || d.Name == "include" && !yes {
			return true
		}
	}
	return false
}

// is tells whether a type is another, or implements it.
func (q *query) is(kind, condition string) bool {
	if kind == condition {
		return true
	}
	for _, possible := range q.sim.schema.PossibleTypes[condition] {
		if possible.Name == kind {
			return true
		}
	}
	return false
}
