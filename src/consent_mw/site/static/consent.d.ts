/** What the page may know of the visitor's choice: the answer of `GET {prefix}/state`. */
export interface ConsentState {
  readonly choice: "accept" | "prompt" | "reject" | null;
  readonly revision: number;
  /** ISO 8601, a day in UTC. */
  readonly given_on: string | null;
  readonly language: string;
  /** By purpose; null where the visitor is asked each time, or has not answered. */
  readonly purposes: Readonly<Record<string, boolean | null>>;
  /** The answers about single cookies, by declared name. */
  readonly cookies: Readonly<Record<string, boolean>>;
  readonly allowed: readonly string[];
  readonly signals: readonly string[];
  readonly waiting: readonly { id: string; name: string; purpose: string; provider: string; expires: string | null }[];
  /** A revision of the policy that is published and not in force yet, and from when it will be. */
  readonly announced: { readonly revision: number; readonly effective_at: string } | null;
  readonly show: boolean;
}

export interface ConsentApi {
  /** Whether `purpose` is allowed; false until the state is known, so that `subscribe` is the surer way. */
  allows(purpose: string): boolean;
  /** Open the settings over the page; where they cannot be fetched, go to their page. */
  show(): void;
  /** Call `listener` with the present state as soon as it is known, and at each change. Returns what ends that. */
  subscribe(listener: (state: ConsentState) => void): () => void;
  /** Read the state again, for example after a route change. Null while the server cannot be reached. */
  refresh(): Promise<ConsentState | null>;
}

declare global {
  interface Window {
    /** Also `window[Symbol.for("consent-mw")]`, and only there on a site that has a `consent` of its own. */
    readonly consent: ConsentApi;
  }
  interface WindowEventMap {
    consentchange: CustomEvent<ConsentState>;
  }
}
