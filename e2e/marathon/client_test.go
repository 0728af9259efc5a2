package marathon_test

import (
	"errors"
	"testing"
	"time"

	client "github.com/gambol99/go-marathon"

	"github.com/tagship/tagship/e2e/marathon"
)

// What go-marathon understands is well formed.
func TestGoMarathon(t *testing.T) {
	for _, version := range []string{"1.1", "1.4", "1.5", "1.8", "1.10"} {
		t.Run(version, func(t *testing.T) {
			sim := start(t, marathon.Options{Version: version})
			c := connect(t, sim, nil)
			events, err := c.AddEventsListener(client.EventIDDeploymentSuccess)
			if err != nil {
				t.Fatal(err)
			}
			a := client.NewDockerApplication().Name("/web").Count(2)
			a.Container.Docker.Container("web:1")
			a.AddHealthCheck(*client.NewDefaultHealthCheck())
			if _, err := c.CreateApplication(a); err != nil {
				t.Fatal(err)
			}
			sim.Advance(30 * time.Millisecond)
			deployments, err := c.Deployments()
			if err != nil || len(deployments) != 1 || deployments[0].Steps[0][0].App != "/web" {
				t.Fatalf("got deployments %v, %v", deployments, err)
			}
			_, err = c.UpdateApplication(a.Count(3), false)
			var refused *client.APIError
			if !errors.As(err, &refused) || refused.ErrCode != client.ErrCodeAppLocked {
				t.Errorf("got %v, want that it is locked", err)
			}
			sim.Advance(time.Minute)
			select {
			case event := <-events:
				if _, is := event.Event.(*client.EventDeploymentSuccess); !is {
					t.Errorf("got the event %v", event)
				}
			case <-time.After(5 * time.Second):
				t.Error("there is no event of the deployment")
			}
			got, err := c.Application("/web")
			if err != nil || len(got.Tasks) != 2 || !got.Tasks[0].HasHealthCheckResults() || got.TasksHealthy != 2 {
				t.Fatalf("got %v, %v", got, err)
			}
			if healthy, err := c.ApplicationOK("/web"); err != nil || !healthy {
				t.Errorf("it is not well: %v", err)
			}
			sim.Play("", "", marathon.Life{NoResources: "InsufficientMemory"})
			if _, err := c.ScaleApplicationInstances("/web", 4, false); err != nil {
				t.Fatal(err)
			}
			sim.Advance(time.Second)
			if queue, err := c.Queue(); err != nil || len(queue.Items) != 1 || queue.Items[0].Count != 2 || !queue.Items[0].Delay.Overdue {
				t.Errorf("got the queue %v, %v", queue, err)
			}
			if _, err := c.Applications(nil); err != nil {
				t.Error(err)
			}
			if versions, err := c.ApplicationVersions("/web"); err != nil || len(versions.Versions) < 2 {
				t.Errorf("got versions %v, %v", versions, err)
			}
			if info, err := c.Info(); err != nil || info.Name != "marathon" {
				t.Errorf("got %v, %v", info, err)
			}
			if leader, err := c.Leader(); err != nil || "http://"+leader != sim.URL() {
				t.Errorf("got %q, %v", leader, err)
			}
			if _, err := c.DeleteApplication("/web", true); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestGoMarathonWithToken(t *testing.T) {
	sim := start(t, marathon.Options{DCOS: true})
	token := sim.Token(time.Hour)
	c := connect(t, sim, func(config *client.Config) { config.DCOSToken = token })
	if _, err := c.Applications(nil); err != nil {
		t.Error(err)
	}
}

// With a clock that runs, everything happens without anybody asking.
func TestClockRuns(t *testing.T) {
	sim, err := marathon.Start(marathon.Options{Speed: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	next := listen(t, sim, "?event_type=deployment_success")
	sim.Play("", "", marathon.Life{Staging: 20 * time.Second})
	do(t, 201, "POST", sim.URL()+"/v2/apps", web("web:1", 1))
	if next("deployment_success") == nil {
		t.Error("the deployment did not end")
	}
}
