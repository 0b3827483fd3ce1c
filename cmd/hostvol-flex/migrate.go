package main

import (
	"fmt"

	"github.com/spf13/cobra"

	flexmigrate "github.com/hostvol/hostvol/pkg/flex/migrate"
)

func migrate() *cobra.Command {
	var r flexmigrate.Request
	var kubectl, kubeconfig, kubeContext, mode string
	c := &cobra.Command{
		Use: "migrate", Short: "Lead FlexVolumes to CSI", Args: cobra.NoArgs,
		Long: "Reads PersistentVolumes, claims, pods and workloads with flexVolume sections,\n" +
			"and writes the CSI PersistentVolumes and claims for the same data, in the order\n" +
			"in which nothing is lost. Data are not moved and no pod is ended.\n" +
			"Only what would be done is told, unless --apply is given; --apply can be repeated,\n" +
			"also after it was killed.",
		Example: "  hostvol-flex migrate -f pv.yaml -f app.yaml -o plan\n" +
			"  hostvol-flex migrate --from-cluster --namespace shop -o plan\n" +
			"  hostvol-flex migrate --from-cluster --namespace shop -o plan --apply",
		RunE: func(c *cobra.Command, _ []string) error {
			switch mode {
			case "distributed", "single":
				r.Distributed = mode == "distributed"
			default:
				return fmt.Errorf("--mode is single or distributed, not %q", mode)
			}
			r.Kubectl.Argv = []string{kubectl}
			if kubeconfig != "" {
				r.Kubectl.Argv = append(r.Kubectl.Argv, "--kubeconfig="+kubeconfig)
			}
			if kubeContext != "" {
				r.Kubectl.Argv = append(r.Kubectl.Argv, "--context="+kubeContext)
			}
			return flexmigrate.Run(c.Context(), r, c.InOrStdin(), c.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&r.Files, "filename", "f", nil, "file with objects, YAML or JSON, - for the standard input; may be repeated")
	f.BoolVar(&r.FromCluster, "from-cluster", false, "read the objects of the cluster, with kubectl")
	f.StringVarP(&r.Dir, "output", "o", "", "directory for the manifests, the steps and the old objects")
	f.BoolVar(&r.Apply, "apply", false, "do it, with kubectl")
	f.StringVar(&r.Driver, "driver", "hostvol.csi.io", "name of hostvol's CSI driver")
	f.StringVar(&mode, "mode", "distributed", "how hostvol is deployed: single or distributed")
	f.StringVar(&r.Node, "node", "", "node of the local data of which nothing tells the node")
	f.StringToStringVar(&r.NodeOf, "node-of", nil, "VOLUME=NODE: the node of one PersistentVolume, or of an inline volume by its option volume or path")
	f.StringVar(&r.Size, "size", "", "size of the inline volumes of which nothing tells the size, such as 10Gi")
	f.StringToStringVar(&r.SizeOf, "size-of", nil, "VOLUME=SIZE: the size of one inline volume, by its option volume or path, or the last part of its share")
	f.StringSliceVarP(&r.Namespaces, "namespace", "n", nil, "only claims and pods of this namespace; may be repeated")
	f.StringSliceVar(&r.Volumes, "pv", nil, "only this PersistentVolume; may be repeated")
	f.StringVar(&kubectl, "kubectl", "kubectl", "program that reaches the cluster")
	f.StringVar(&kubeconfig, "kubeconfig", "", "passed on to kubectl")
	f.StringVar(&kubeContext, "context", "", "passed on to kubectl")
	return c
}
