'use client';

import Link from 'next/link';
import { usePathname } from 'next/navigation';

const PAGES = { '/': 'SQL on the server', '/browser': 'SQL from the browser' };

export function Navigation() {
  const here = usePathname();
  return (
    <nav>
      {Object.entries(PAGES).map(([path, title]) => (
        <Link key={path} href={path} aria-current={path === here ? 'page' : undefined}>
          {title}
        </Link>
      ))}
    </nav>
  );
}
