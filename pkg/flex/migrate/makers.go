package migrate

import "fmt"

// makers tells of the workloads that would make a pod with the claim at any moment,
// though there may be none now, and how to stop each.
func (in *inventory) makers(namespace, claim string) []string {
	var all []string
	for _, key := range sortedKeys(in.workloads) {
		w := in.workloads[key]
		if !claims(w, namespace, claim) {
			continue
		}
		if stop := goesOn(w); stop != "" {
			all = append(all, fmt.Sprintf("%s makes pods that use it; %s first", w.ref(), stop))
		}
	}
	return all
}

// goesOn tells what stops a workload from making pods; "" if it makes none. One
// that another one owns counts as well: that one may be on its way to stop it.
func goesOn(w Object) string {
	switch w.kind() {
	case "CronJob":
		if !w.truth("spec", "suspend") {
			return "suspend it"
		}
	case "Job":
		if !w.truth("spec", "suspend") && !ended(w) {
			return "suspend it, or let it end,"
		}
	case "DaemonSet":
		if !zero(w.at("status", "desiredNumberScheduled")) || !observed(w) {
			return "give its template a nodeSelector that no node has"
		}
	default: // without a number it is 1
		if !zero(w.at("spec", "replicas")) {
			return "scale it to 0"
		}
		if !observed(w) {
			return "let its controller see that it has 0 replicas"
		}
	}
	return ""
}

// observed tells whether the controller has seen the workload as it is now.
func observed(w Object) bool {
	return same(w.at("status", "observedGeneration"), w.at("metadata", "generation"))
}

// zero tells whether v is the number 0, however it was read.
func zero(v any) bool { return fmt.Sprint(v) == "0" }

// ended tells whether a Job makes no more pods.
func ended(job Object) bool {
	for _, c := range job.objects("status", "conditions") {
		if kind := c.text("type"); (kind == "Complete" || kind == "Failed") && c.text("status") == "True" {
			return true
		}
	}
	return false
}
