package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tagship/tagship/e2e/github"
)

const (
	fleetOwners = 25
	largeEvery  = 33 // one in so many repositories has hundreds of tags
)

// fleet is a simulated GitHub, in this process, with repositories to watch.
type fleet struct {
	sim   *github.Sim
	token *github.Token
	app   *github.App // installed at every owner
	repos []*github.Repo
	names []string // of repos, such as acme-07/web-00042
}

// newFleet makes n repositories, of owners that have as many each and take turns. Most have 1 to
// 30 tags, one in 33 has 200 to 600, and every second tag is annotated.
func newFleet(n int, opts github.Options) (_ *fleet, err error) {
	opts.Enterprise = true
	sim, err := github.Start(opts)
	if err != nil {
		return nil, err
	}
	f := &fleet{sim: sim, token: sim.PersonalToken("robot")}
	defer func() {
		if err != nil {
			err = errors.Join(err, sim.Close())
		}
	}()
	if f.app, err = sim.App(); err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(1, 2)) // the same fleet in every run
	var owned [fleetOwners][]*github.Repo
	for owner := range fleetOwners {
		login := fmt.Sprintf("acme-%02d", owner)
		f.app.Install(login)
		owned[owner] = sim.Fleet(login, "web", n/fleetOwners, sources(random), "v0.0.0")
	}
	for i := range n {
		repo := owned[i%fleetOwners][i/fleetOwners]
		tags := random.IntN(30)
		if i%largeEvery == largeEvery-1 {
			tags = 200 + random.IntN(400)
		}
		pushTags(repo, tags)
		f.repos = append(f.repos, repo)
		f.names = append(f.names, repo.Name())
	}
	return f, nil
}

// pushTags gives a repository so many more tags, each of a commit of its own.
func pushTags(repo *github.Repo, n int) {
	refs := make([]github.Ref, n)
	for i := range refs {
		refs[i] = github.Ref{Name: fmt.Sprintf("v%d.%d.0", 1+i/20, i%20), Object: repo.Stray(github.Files{"VERSION": fmt.Sprint(i)})}
		if i%2 == 1 {
			refs[i].Object = repo.Annotate(refs[i].Name, refs[i].Object)
		}
	}
	repo.Push(refs...)
}

// sourceSize is how many bytes of a source do not get smaller by compression.
const sourceSize = 16 << 10

// sources are the files of a commit: a recipe, and something to fetch.
func sources(random *rand.Rand) github.Files {
	content := make([]byte, sourceSize)
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	return github.Files{".tagship.yaml": "build: {run: make}\npackages:\n  - {file: out/web.tar.gz}\n", "content": string(content)}
}

// appName is what the app of a repository is called.
func appName(repo string) string { return strings.ReplaceAll(repo, "/", "-") }

// cost is what asking for tags has cost.
type cost struct {
	took             time.Duration
	requests, points int
}

func (c cost) String() string {
	return fmt.Sprintf("%s, %d requests, %d points", seconds(c.took), c.requests, c.points)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// spent is what the simulator has counted so far: of all its clients, it has one at a time.
func (f *fleet) spent() cost {
	return cost{requests: f.sim.Requests(""), points: f.sim.Points("core") + f.sim.Points("graphql")}
}

// since is what was spent since an earlier count.
func (f *fleet) since(before cost, took time.Duration) cost {
	now := f.spent()
	return cost{took: took, requests: now.requests - before.requests, points: now.points - before.points}
}
