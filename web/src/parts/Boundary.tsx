import { Component, type ReactNode } from "react";

/** What goes wrong in a page stays in that page: the way to the others, and to a fresh start, stays open. */
export class Boundary extends Component<{ children: ReactNode }, { error: unknown }> {
  override state: { error: unknown } = { error: undefined };

  static getDerivedStateFromError(error: unknown): { error: unknown } {
    return { error };
  }

  override render(): ReactNode {
    const { error } = this.state;
    if (error === undefined) return this.props.children;
    return (
      <div className="banner bad" role="alert">
        <p>
          <strong>This page cannot be shown.</strong> {error instanceof Error ? error.message : String(error)}
        </p>
        <p>The server may be away, or it has been replaced by another version since this page was opened.</p>
        <button onClick={() => location.reload()}>Load it anew</button>
      </div>
    );
  }
}
