package migrate

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

func TestMakers(t *testing.T) {
	const pods = "{spec: {volumes: [{name: v, persistentVolumeClaim: {claimName: data-db-0}}]}}"
	for text, want := range map[string]string{
		"kind: StatefulSet\nmetadata: {name: db}\nspec: {replicas: 1, volumeClaimTemplates: [{metadata: {name: data}}]}":                                       "scale it to 0",
		"kind: StatefulSet\nmetadata: {name: db}\nspec: {volumeClaimTemplates: [{metadata: {name: data}}]}":                                                    "scale it to 0",
		"kind: StatefulSet\nmetadata: {name: db}\nspec: {replicas: 0, volumeClaimTemplates: [{metadata: {name: data}}]}":                                       "",
		"kind: StatefulSet\nmetadata: {name: dbx}\nspec: {replicas: 1, volumeClaimTemplates: [{metadata: {name: data}}]}":                                      "",
		"kind: StatefulSet\nmetadata: {name: x}\nspec: {replicas: 2, template: " + pods + "}":                                                                  "scale it to 0",
		"kind: Deployment\nmetadata: {name: x}\nspec: {replicas: 1, template: " + pods + "}":                                                                   "scale it to 0",
		"kind: Deployment\nmetadata: {name: x}\nspec: {replicas: 0, template: " + pods + "}":                                                                   "",
		"kind: Deployment\nmetadata: {name: x, generation: 2}\nspec: {replicas: 0, template: " + pods + "}\nstatus: {observedGeneration: 1}":                   "let its controller see",
		"kind: Deployment\nmetadata: {name: x, generation: 2}\nspec: {replicas: 0, template: " + pods + "}\nstatus: {observedGeneration: 2}":                   "",
		"kind: Deployment\nmetadata: {name: x, namespace: other}\nspec: {replicas: 1, template: " + pods + "}":                                                 "",
		"kind: ReplicaSet\nmetadata: {name: x, ownerReferences: [{kind: Deployment, name: x, controller: true}]}\nspec: {replicas: 1, template: " + pods + "}": "scale it to 0",
		"kind: CronJob\nmetadata: {name: x}\nspec: {jobTemplate: {spec: {template: " + pods + "}}}":                                                            "suspend it",
		"kind: CronJob\nmetadata: {name: x}\nspec: {suspend: true, jobTemplate: {spec: {template: " + pods + "}}}":                                             "",
		"kind: Job\nmetadata: {name: x}\nspec: {template: " + pods + "}":                                                                                       "suspend it",
		"kind: Job\nmetadata: {name: x}\nspec: {suspend: true, template: " + pods + "}":                                                                        "",
		"kind: Job\nmetadata: {name: x}\nspec: {template: " + pods + "}\nstatus: {conditions: [{type: Failed, status: \"True\"}]}":                             "",
		"kind: Job\nmetadata: {name: x}\nspec: {template: " + pods + "}\nstatus: {conditions: [{type: Failed, status: \"False\"}]}":                            "suspend it",
		"kind: DaemonSet\nmetadata: {name: x, generation: 2}\nspec: {template: " + pods + "}\nstatus: {observedGeneration: 2, desiredNumberScheduled: 0}":      "",
		"kind: DaemonSet\nmetadata: {name: x, generation: 2}\nspec: {template: " + pods + "}\nstatus: {observedGeneration: 1, desiredNumberScheduled: 0}":      "nodeSelector",
		"kind: DaemonSet\nmetadata: {name: x, generation: 2}\nspec: {template: " + pods + "}\nstatus: {observedGeneration: 2, desiredNumberScheduled: 3}":      "nodeSelector",
	} {
		objects, err := Read("x", []byte(text))
		must(t, err)
		got := strings.Join(take(objects).makers("default", "data-db-0"), " ")
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s:\n%q instead of %q", text, got, want)
		}
	}
}

// A StatefulSet whose pod is just being made anew has none, and would make the
// claim anew, too, with an empty volume. What the plan has seen does not count.
func TestApplyWhilePodsAreMade(t *testing.T) {
	dir, s := world(t)
	t.Setenv(standInDir, dir)
	r := request(dir)
	plan, in := New(r.Options, s.all()), take(s.all())
	db := s.read("StatefulSet", "shop", "db")
	db.set(1, "spec", "replicas")
	s.write(db)
	before := snapshot(s)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a := &applier{kubectl: r.Kubectl, dir: r.Dir, out: io.Discard, poll: time.Millisecond, patience: time.Minute}
	for what, err := range map[string]error{"apply": a.apply(ctx, plan, in), "the item": a.item(ctx, plan.Items[0])} {
		if err == nil || !strings.Contains(err.Error(), "StatefulSet shop/db makes pods that use it; scale it to 0 first") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if snapshot(s) != before {
		t.Error("something was changed")
	}
}
