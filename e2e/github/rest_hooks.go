package github

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// hookRoutes are about webhooks and what became of their deliveries.
func hookRoutes() []route {
	routes := []route{
		{pattern: "GET /repos/{owner}/{repo}/hooks", permission: "repository_hooks", level: "write", repo: func(c *call, r *Repo) answer {
			return listHooks(c, func(h *Hook) bool { return h.repo == r }, fmt.Sprintf("repositories/%d/hooks", r.id))
		}},
		{pattern: "GET /orgs/{org}/hooks", serve: func(c *call) answer {
			return listHooks(c, func(h *Hook) bool { return strings.EqualFold(h.config.Org, c.PathValue("org")) }, "orgs/"+c.PathValue("org")+"/hooks")
		}},
	}
	// The three kinds of hooks have the same routes at different places.
	for suffix, serve := range map[string]func(c *call, h *Hook) answer{
		"GET deliveries": listDeliveries, "GET deliveries/{delivery}": getDelivery, "POST deliveries/{delivery}/attempts": redeliver,
	} {
		method, path, _ := strings.Cut(suffix, " ")
		routes = append(routes,
			route{pattern: method + " /repos/{owner}/{repo}/hooks/{hook}/" + path, permission: "repository_hooks", level: "write", repo: func(c *call, r *Repo) answer {
				return c.withHook(serve, func(h *Hook) bool { return h.repo == r })
			}},
			route{pattern: method + " /orgs/{org}/hooks/{hook}/" + path, serve: func(c *call) answer {
				return c.withHook(serve, func(h *Hook) bool {
					return c.token != nil && c.token.app == nil && strings.EqualFold(h.config.Org, c.PathValue("org"))
				})
			}},
			route{pattern: method + " /app/hook/" + path, serve: asApp(func(c *call, app *App) answer {
				i := slices.IndexFunc(c.sim.hooks, func(h *Hook) bool { return h.config.App == app })
				if i < 0 {
					return notFound()
				}
				return serve(c, c.sim.hooks[i])
			})})
	}
	return routes
}

// withHook serves the hook in the path, if it is one of those wanted.
func (c *call) withHook(serve func(*call, *Hook) answer, wanted func(*Hook) bool) answer {
	i := slices.IndexFunc(c.sim.hooks, func(h *Hook) bool { return strconv.FormatInt(h.id, 10) == c.PathValue("hook") && wanted(h) })
	if i < 0 {
		return notFound()
	}
	return serve(c, c.sim.hooks[i])
}

func listHooks(c *call, wanted func(*Hook) bool, path string) answer {
	all := []fields{}
	for _, h := range c.sim.hooks {
		if wanted(h) {
			all = append(all, h.json())
		}
	}
	a := ok(nil)
	from, to := c.page(&a, len(all), path)
	a.body = all[from:to]
	return a
}

// listDeliveries lists attempts, newest first, a page after the delivery that the cursor names.
func listDeliveries(c *call, h *Hook) answer {
	kept := h.kept()
	slices.Reverse(kept)
	query := c.URL.Query()
	per, err := strconv.Atoi(query.Get("per_page"))
	if err != nil || per < 1 {
		per = 30
	}
	if cursor := query.Get("cursor"); cursor != "" {
		i := slices.IndexFunc(kept, func(d *Delivery) bool { return "v1_"+strconv.FormatInt(d.ID, 10) == cursor })
		if i < 0 {
			return problem(http.StatusUnprocessableEntity, "Invalid cursor")
		}
		kept = kept[i+1:]
	}
	a := ok(nil)
	if per = min(per, 100); len(kept) > per {
		kept = kept[:per]
		query.Set("cursor", fmt.Sprintf("v1_%d", kept[per-1].ID))
		path, _ := strings.CutPrefix(c.URL.Path, "/")
		a.header.Set("Link", fmt.Sprintf(`<%s%s?%s>; rel="next"`, c.sim.API(), path, query.Encode()))
	}
	list := []fields{}
	for _, d := range kept {
		list = append(list, d.json())
	}
	a.body = list
	return a
}

func (c *call) delivery(h *Hook) *Delivery {
	id, err := strconv.ParseInt(c.PathValue("delivery"), 10, 64)
	if err != nil {
		return nil
	}
	return h.find(id)
}

func getDelivery(c *call, h *Hook) answer {
	d := c.delivery(h)
	if d == nil {
		return notFound()
	}
	headers := fields{}
	for name := range d.Header {
		headers[name] = d.Header.Get(name)
	}
	f := d.json()
	f["url"] = h.config.URL
	f["request"] = fields{"headers": headers, "payload": json.RawMessage(d.Payload)}
	f["response"] = fields{"headers": fields{}, "payload": d.Response}
	return ok(f)
}

func redeliver(c *call, h *Hook) answer {
	d := c.delivery(h)
	if d == nil {
		return notFound()
	}
	h.again(d)
	a := ok(fields{})
	a.status = http.StatusAccepted
	return a
}

// json is the attempt as lists have it.
func (d *Delivery) json() fields {
	var action, installation, repo any
	if d.Action != "" {
		action = d.Action
	}
	if d.Installation != 0 {
		installation = d.Installation
	}
	if d.Repo != 0 {
		repo = d.Repo
	}
	return fields{
		"id": d.ID, "guid": d.GUID, "delivered_at": iso(d.At), "redelivery": d.Redelivery, "duration": d.Took.Seconds(),
		"status": d.Status, "status_code": d.Code, "event": d.Event, "action": action,
		"installation_id": installation, "repository_id": repo, "throttled_at": nil,
	}
}
