package measure

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// Targets. OpenEBS publishes 218 s for 500 claims of its hostpath volumes; who
// starts a helper pod for each volume needs a second and more for it.
const (
	boundTarget    = 0.8 // seconds from a claim to a bound one, median
	manyTarget     = 60  // seconds for many claims at once
	many           = 500
	idleCPUTarget  = 0.1 // per cent of a processor
	residentTarget = 40  // MiB
	singles        = 25
	idleTime       = 65 * time.Second // more than one round of all that is done by the clock
)

// The figures that are printed at the end of the e2e tests.
func TestFigures(t *testing.T) {
	r := &report{TB: t}
	t.Cleanup(r.write)
	idleAndLoad(t, r)
	oneByOne(t, r)
}

// oneByOne measures what one user waits for.
func oneByOne(t *testing.T, r *report) {
	s := cluster.Begin(t, c)
	var bound, gone, ready, again times
	for i := range singles {
		name := fmt.Sprintf("claim-%03d", i)
		start := time.Now()
		s.Claim(name, "8Mi", cluster.SelectedNode(cluster.Nodes()[i%3]))
		pv := s.Bound(name, time.Minute)
		bound = append(bound, time.Since(start))
		start = time.Now()
		s.DeleteClaim(name)
		s.VolumeGone(pv.Name, time.Minute)
		gone = append(gone, time.Since(start))
	}
	for i := range singles / 5 {
		name := fmt.Sprintf("pod-%03d", i)
		start := time.Now()
		s.Claim(name, "8Mi")
		s.Pod(name, name)
		s.Ready(name)
		ready = append(ready, time.Since(start))
		s.DeletePod(name)
		start = time.Now()
		s.Pod(name, name)
		s.Ready(name)
		again = append(again, time.Since(start))
		s.DeletePod(name)
	}
	r.section("One after the other", "from … to", "count", "p50", "p99 (of so few, the longest)")
	r.distribution("claim made → Bound", bound)
	r.distribution("claim deleted → volume gone", gone)
	r.distribution("claim and pod made → pod Ready", ready)
	r.distribution("pod made again → Ready", again)
	r.section("Targets, one user", "what", "found", "target", "")
	r.atMost("claim made → Bound, p50", bound.at(0.5), boundTarget, "s")
}

// idleAndLoad measures what the driver takes when nothing happens, and when
// many claims come at once.
func idleAndLoad(t *testing.T, r *report) {
	s := cluster.Begin(t, c)
	for _, n := range cluster.Nodes() {
		s.DriverPod(n)
	}
	for i := range 30 { // what there is to be looked after
		s.Claim(fmt.Sprintf("idle-%02d", i), "4Mi", cluster.SelectedNode(cluster.Nodes()[i%3]))
		s.Bound(fmt.Sprintf("idle-%02d", i), time.Minute)
	}
	time.Sleep(5 * time.Second) // the start is over
	idleBefore := usageOf(t, "n1")
	time.Sleep(idleTime)
	idle := usageOf(t, "n1")

	before, err := cluster.Requests()
	if err != nil {
		t.Fatal(err)
	}
	stolen := steal(t)
	took, last := manyClaims(t, s)
	others := stolen()
	load := usageOf(t, "n1")
	requests, err := cluster.Requests()
	if err != nil {
		t.Fatal(err)
	}
	requests = requests[len(before):]

	r.section(fmt.Sprintf("%d claims made at once, for three nodes", many), "what", "found", "target", "")
	r.atMost("all Bound after", took.Seconds(), manyTarget, "s")
	r.row("of the processors other machines had", fmt.Sprintf("%.0f %%", others*100), "", "")
	r.row("the calls that made the claims took", fmt.Sprintf("%.1f s", last.Seconds()), "", "")
	perVolume(r, requests)

	r.section("What the parts take, on one node", "container", "idle CPU", "idle memory", "CPU for its third of the claims", "memory at its most")
	for _, name := range containers() {
		share := float64(idle[name].cpu-idleBefore[name].cpu) / float64(idleTime) * 100
		r.row(name, fmt.Sprintf("%.3f %%", share), fmt.Sprintf("%.1f MiB", idle[name].resident),
			fmt.Sprintf("%.2f s", (load[name].cpu-idle[name].cpu).Seconds()), fmt.Sprintf("%.1f MiB", load[name].peak))
	}
	r.section("Targets, the driver's container", "what", "found", "target", "")
	r.atMost("CPU idle", float64(idle["hostvol"].cpu-idleBefore["hostvol"].cpu)/float64(idleTime)*100, idleCPUTarget, "%")
	r.atMost("memory idle", idle["hostvol"].resident, residentTarget, "MiB")
	r.atMost("memory under load", load["hostvol"].peak, residentTarget, "MiB")
	removeMany(t, s, r)
}

// manyClaims makes them all and waits until all are bound. The nodes are chosen
// by the test, as the scheduler would.
func manyClaims(t *testing.T, s *cluster.Story) (took, last time.Duration) {
	start := time.Now()
	work := make(chan int)
	done := make(chan error)
	for range 20 {
		go func() {
			var failed error
			for i := range work {
				claim := cluster.NewClaim(fmt.Sprintf("many-%03d", i), "4Mi", cluster.SelectedNode(cluster.Nodes()[i%3]))
				if _, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
					failed = err
				}
			}
			done <- failed
		}()
	}
	for i := range many {
		work <- i
	}
	close(work)
	for range 20 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	last = time.Since(start)
	cluster.Eventually(t, 5*time.Minute, fmt.Sprintf("%d claims bound", many), func(ctx context.Context) string {
		list, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return err.Error()
		}
		bound := 0
		for _, claim := range list.Items {
			if claim.Status.Phase == corev1.ClaimBound {
				bound++
			}
		}
		if bound == len(list.Items) {
			return ""
		}
		return fmt.Sprintf("%d of %d are", bound, len(list.Items))
	})
	return time.Since(start), last
}

// removeMany deletes them all at once.
func removeMany(t *testing.T, s *cluster.Story, r *report) {
	start := time.Now()
	err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, 5*time.Minute, "all volumes gone", func(ctx context.Context) string {
		list, err := s.Kube.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return err.Error()
		}
		left := 0
		for _, pv := range list.Items {
			if pv.Spec.ClaimRef != nil && pv.Spec.ClaimRef.Namespace == s.Namespace {
				left++
			}
		}
		if left == 0 {
			return ""
		}
		return fmt.Sprintf("%d are left", left)
	})
	r.section("All of them deleted at once", "what", "found")
	r.row("all gone after", fmt.Sprintf("%.1f s", time.Since(start).Seconds()))
}

// perVolume lists what the parts asked of the apiserver.
func perVolume(r *report, requests []cluster.Request) {
	counts := map[string]int{}
	for _, q := range requests {
		counts[q.Part+": "+q.Right()]++
	}
	r.section("Requests to the apiserver meanwhile", "part: request", "in all", "per volume")
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		r.row(key, counts[key], fmt.Sprintf("%.2f", float64(counts[key])/many))
	}
	r.row("all", len(requests), fmt.Sprintf("%.2f", float64(len(requests))/many))
}
