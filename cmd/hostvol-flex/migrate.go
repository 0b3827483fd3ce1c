package main

import "github.com/spf13/cobra"

func migrate() *cobra.Command { return &cobra.Command{Use: "migrate"} }
